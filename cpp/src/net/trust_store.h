// net/trust_store.h - finds the file of certificate authorities, or says where it looked.
//
// One file and never a directory: a directory switches libcurl's store cache off, and a verified
// connection then costs 45 times as much.
#ifndef DURE_SRC_NET_TRUST_STORE_H_
#define DURE_SRC_NET_TRUST_STORE_H_

#include <string>
#include <vector>

#include "dure/base/result.h"

namespace dure::net {

// The first that can be read of: `chosen` (then nothing else counts), $SSL_CERT_FILE,
// $CURL_CA_BUNDLE, $REQUESTS_CA_BUNDLE, all certificates of $SSL_CERT_DIR merged into one private
// file, the usual system paths, `fallbacks` (certifi). Fails closed with kUnavailable, stage "tls",
// "tried" naming every path.
[[nodiscard]] base::Result<std::string> find_trust_store(const std::string& chosen,
                                                         const std::vector<std::string>& fallbacks);

}  // namespace dure::net

#endif  // DURE_SRC_NET_TRUST_STORE_H_
