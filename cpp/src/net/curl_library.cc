#include "net/curl_library.h"

#include <curl/curl.h>
#include <dlfcn.h>
#include <malloc.h>
#include <string.h>

#include <algorithm>
#include <cstdarg>
#include <cstdlib>
#include <string>
#include <string_view>

#undef curl_easy_setopt
#undef curl_easy_getinfo
#undef curl_multi_setopt

namespace dure::net {
namespace {

constexpr const char* kOurs = "libdure_curl.so";
constexpr const char* kMachines = "libcurl.so.4";
constexpr std::string_view kPrivate = "/dure.libs/";  // where a wheel keeps its libraries
constexpr unsigned kOldest = 0x075800;                // 7.88.0

// The functions that this room calls. Written once, by load().
struct Functions {
  decltype(&curl_global_init_mem) global_init_mem;
  decltype(&curl_global_init) global_init;
  decltype(&curl_version_info) version_info;
  decltype(&curl_easy_init) easy_init;
  decltype(&curl_easy_cleanup) easy_cleanup;
  decltype(&curl_easy_setopt) easy_setopt;
  decltype(&curl_easy_getinfo) easy_getinfo;
  decltype(&curl_easy_pause) easy_pause;
  decltype(&curl_easy_strerror) easy_strerror;
  decltype(&curl_multi_init) multi_init;
  decltype(&curl_multi_cleanup) multi_cleanup;
  decltype(&curl_multi_setopt) multi_setopt;
  decltype(&curl_multi_add_handle) multi_add_handle;
  decltype(&curl_multi_remove_handle) multi_remove_handle;
  decltype(&curl_multi_info_read) multi_info_read;
  decltype(&curl_multi_socket_action) multi_socket_action;
  CURLMcode (*multi_socket_all)(CURLM*, int*);  // by hand: its name is deprecated
  decltype(&curl_slist_append) slist_append;
  decltype(&curl_slist_free_all) slist_free_all;
  int (*ssl_pending)(const void* ssl);  // OpenSSL's SSL_pending, if libcurl brought it along
};
Functions functions;

base::Status no(const std::string& why) {
  return base::Status(base::Code::kUnavailable,
                      "the transport cannot start: " + why +
                          ". Reinstall dure, or install libcurl 7.88 or newer (Debian: libcurl4)")
      .with("stage", std::string("start"));
}

// The folder of the file that holds this code, with its slash; empty if nobody knows.
std::string own_folder() {
  Dl_info info{};
  if (::dladdr(&functions, &info) == 0 || info.dli_fname == nullptr) return {};
  const std::string path(info.dli_fname);
  const std::size_t slash = path.rfind('/');
  return slash == std::string::npos ? std::string() : path.substr(0, slash + 1);
}

void* open_library(std::string* why) {
  void* library = nullptr;
  if (const std::string folder = own_folder(); !folder.empty()) {
    library = ::dlopen((folder + kOurs).c_str(), RTLD_NOW | RTLD_LOCAL);
  }
  if (library == nullptr) library = ::dlopen(kMachines, RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) {
    const char* const told = ::dlerror();
    *why = told != nullptr ? told : "libcurl is not there";
  }
  return library;
}

template <typename Function>
void find(void* library, const char* name, Function* function, std::string* missing) {
  *function = reinterpret_cast<Function>(::dlsym(library, name));
  if (*function == nullptr) *missing = name;
}

std::string find_all(void* library) {
  std::string missing;
  find(library, "curl_global_init_mem", &functions.global_init_mem, &missing);
  find(library, "curl_global_init", &functions.global_init, &missing);
  find(library, "curl_version_info", &functions.version_info, &missing);
  find(library, "curl_easy_init", &functions.easy_init, &missing);
  find(library, "curl_easy_cleanup", &functions.easy_cleanup, &missing);
  find(library, "curl_easy_setopt", &functions.easy_setopt, &missing);
  find(library, "curl_easy_getinfo", &functions.easy_getinfo, &missing);
  find(library, "curl_easy_pause", &functions.easy_pause, &missing);
  find(library, "curl_easy_strerror", &functions.easy_strerror, &missing);
  find(library, "curl_multi_init", &functions.multi_init, &missing);
  find(library, "curl_multi_cleanup", &functions.multi_cleanup, &missing);
  find(library, "curl_multi_setopt", &functions.multi_setopt, &missing);
  find(library, "curl_multi_add_handle", &functions.multi_add_handle, &missing);
  find(library, "curl_multi_remove_handle", &functions.multi_remove_handle, &missing);
  find(library, "curl_multi_info_read", &functions.multi_info_read, &missing);
  find(library, "curl_multi_socket_action", &functions.multi_socket_action, &missing);
  find(library, "curl_multi_socket_all", &functions.multi_socket_all, &missing);
  find(library, "curl_slist_append", &functions.slist_append, &missing);
  find(library, "curl_slist_free_all", &functions.slist_free_all, &missing);
  functions.ssl_pending =
      reinterpret_cast<int (*)(const void*)>(::dlsym(library, "SSL_pending"));  // of its needs
  return missing;
}

// libcurl does not erase what it frees, keys among it. These functions do.
void erase_and_free(void* block) {
  if (block == nullptr) return;
  ::explicit_bzero(block, ::malloc_usable_size(block));
  std::free(block);
}

void* grow(void* block, std::size_t size) {
  void* const larger = std::malloc(size);
  if (block == nullptr || larger == nullptr) return larger;
  ::memcpy(larger, block, std::min(size, ::malloc_usable_size(block)));
  erase_and_free(block);
  return larger;
}

// The library is a wheel's own copy, which nobody else in the process has loaded: only there may we
// choose its allocator.
bool is_private() {
  Dl_info info{};
  const void* const code = reinterpret_cast<const void*>(functions.global_init);
  return ::dladdr(code, &info) != 0 && info.dli_fname != nullptr &&
         std::string_view(info.dli_fname).find(kPrivate) != std::string_view::npos;
}

CURLcode start_library() {
  if (!is_private()) return functions.global_init(CURL_GLOBAL_DEFAULT);
  return functions.global_init_mem(CURL_GLOBAL_DEFAULT, &std::malloc, &erase_and_free, &grow,
                                   &::strdup, &std::calloc);
}

base::Status load() {
  std::string why;
  void* const library = open_library(&why);  // never closed: its threads and hooks stay
  if (library == nullptr) return no(why);
  if (const std::string missing = find_all(library); !missing.empty()) {
    return no("libcurl has no " + missing);
  }
  const curl_version_info_data* const version = functions.version_info(CURLVERSION_NOW);
  if (version->version_num < kOldest) {
    return no("libcurl " + std::string(version->version) + " is too old");
  }
  if (start_library() != CURLE_OK) return no("libcurl will not start");
  return {};
}

}  // namespace

unsigned curl_version_number() noexcept {
  static const unsigned number = functions.version_info(CURLVERSION_NOW)->version_num;
  return number;
}

bool tls_holds_more(CURL* easy) noexcept {
  curl_tlssessioninfo* session = nullptr;
  const bool known = functions.ssl_pending != nullptr &&
                     functions.easy_getinfo(easy, CURLINFO_TLS_SSL_PTR, &session) == CURLE_OK &&
                     session != nullptr && session->backend == CURLSSLBACKEND_OPENSSL &&
                     session->internals != nullptr;
  return !known || functions.ssl_pending(session->internals) != 0;
}

bool curl_erases_what_it_frees() noexcept { return load_curl().ok() && is_private(); }

base::Status load_curl() {
  static const base::Status loaded = load();
  return loaded;
}

}  // namespace dure::net

// libcurl's own names, for this room only: the linker hides them from everybody else.
using dure::net::functions;

// What a variable argument of libcurl is (a long, a pointer, a curl_off_t) travels alike.
static_assert(sizeof(long) == sizeof(void*) && sizeof(curl_off_t) == sizeof(void*));

extern "C" {

CURL* curl_easy_init() { return functions.easy_init(); }
void curl_easy_cleanup(CURL* easy) { functions.easy_cleanup(easy); }
CURLcode curl_easy_pause(CURL* easy, int what) { return functions.easy_pause(easy, what); }
const char* curl_easy_strerror(CURLcode code) { return functions.easy_strerror(code); }

CURLcode curl_easy_setopt(CURL* easy, CURLoption option, ...) {
  va_list arguments;
  va_start(arguments, option);
  void* const value = va_arg(arguments, void*);
  va_end(arguments);
  return functions.easy_setopt(easy, option, value);
}

CURLcode curl_easy_getinfo(CURL* easy, CURLINFO info, ...) {
  va_list arguments;
  va_start(arguments, info);
  void* const value = va_arg(arguments, void*);
  va_end(arguments);
  return functions.easy_getinfo(easy, info, value);
}

CURLM* curl_multi_init() { return functions.multi_init(); }
CURLMcode curl_multi_cleanup(CURLM* multi) { return functions.multi_cleanup(multi); }
CURLMcode curl_multi_add_handle(CURLM* multi, CURL* easy) {
  return functions.multi_add_handle(multi, easy);
}
CURLMcode curl_multi_remove_handle(CURLM* multi, CURL* easy) {
  return functions.multi_remove_handle(multi, easy);
}
CURLMsg* curl_multi_info_read(CURLM* multi, int* left) {
  return functions.multi_info_read(multi, left);
}
CURLMcode curl_multi_socket_action(CURLM* multi, curl_socket_t fd, int mask, int* running) {
  return functions.multi_socket_action(multi, fd, mask, running);
}
CURLMcode curl_multi_socket_all(CURLM* multi, int* running) {
  return functions.multi_socket_all(multi, running);
}

CURLMcode curl_multi_setopt(CURLM* multi, CURLMoption option, ...) {
  va_list arguments;
  va_start(arguments, option);
  void* const value = va_arg(arguments, void*);
  va_end(arguments);
  return functions.multi_setopt(multi, option, value);
}

curl_slist* curl_slist_append(curl_slist* list, const char* text) {
  return functions.slist_append(list, text);
}
void curl_slist_free_all(curl_slist* list) { functions.slist_free_all(list); }

}  // extern "C"
