// src/net/curl_library.h - libcurl, loaded when the first transport starts and not before.
//
// libcurl brings about thirty shared libraries along: 6 MB and a third of the time of an import,
// paid by every process that only counts tokens or searches. So nothing links it: the functions
// that this room calls are defined in curl_library.cc and go on to the library, once that is there.
#ifndef DURE_SRC_NET_CURL_LIBRARY_H_
#define DURE_SRC_NET_CURL_LIBRARY_H_

#include <curl/curl.h>

#include "dure/base/status.h"

namespace dure::net {

// Loads and initialises libcurl: libdure_curl.so beside this code, which a wheel holds with a
// libcurl of its own; else the machine's. Fails with kUnavailable (detail "stage": start) if there
// is none, or one older than 7.88. The first answer stands. Thread-safe.
// REQUIRES: ok before any function named curl_* is called.
[[nodiscard]] base::Status load_curl();
// For example 0x075801: 7.88.1. REQUIRES: load_curl() was ok.
[[nodiscard]] unsigned curl_version_number() noexcept;
// The TLS of the connection that `easy` is about to use holds bytes that it has read and nobody has
// taken: they were sent behind the reply before. True also if its library cannot be asked.
// REQUIRES: called from `easy`'s pre-request callback.
[[nodiscard]] bool tls_holds_more(CURL* easy) noexcept;

}  // namespace dure::net

#endif  // DURE_SRC_NET_CURL_LIBRARY_H_
