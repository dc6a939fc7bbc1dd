#include "net/trust_store.h"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <optional>
#include <set>
#include <sstream>

namespace dure::net {
namespace {

constexpr const char* kSystem[] = {
    "/etc/ssl/certs/ca-certificates.crt",  // Debian, Ubuntu, Alpine
    "/etc/pki/tls/certs/ca-bundle.crt",    // Fedora, RHEL
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/ssl/ca-bundle.pem",  // openSUSE
    "/etc/ssl/cert.pem",       // Alpine, macOS, BSD
    "/usr/local/share/certs/ca-root-nss.crt",
};

std::string from_environment(const char* name) {
  const char* value = std::getenv(name);  // NOLINT(concurrency-mt-unsafe): read, never set by us
  return value != nullptr ? value : "";
}

bool readable(const std::string& path) {
  std::error_code ignored;
  return std::filesystem::is_regular_file(path, ignored) && ::access(path.c_str(), R_OK) == 0;
}

// The certificates of a directory in one file that has no name and lives as long as the process.
std::optional<std::string> merged(const std::string& directory) {
  std::error_code error;
  std::set<std::filesystem::path> files;  // hash links name the same files again
  for (const auto& entry : std::filesystem::directory_iterator(directory, error)) {
    if (entry.is_regular_file(error)) files.insert(std::filesystem::canonical(entry.path(), error));
  }
  std::string pem;
  for (const auto& file : files) {
    std::ostringstream text;
    text << std::ifstream(file, std::ios::binary).rdbuf();
    if (text.str().find("-----BEGIN CERTIFICATE-----") != std::string::npos)
      pem += text.str() + "\n";
  }
  if (pem.empty()) return std::nullopt;
  const int fd = ::memfd_create("dure-ca", MFD_CLOEXEC);
  if (fd < 0) return std::nullopt;
  for (std::size_t at = 0; at < pem.size();) {
    const ssize_t wrote = ::write(fd, pem.data() + at, pem.size() - at);
    if (wrote <= 0) {
      ::close(fd);
      return std::nullopt;
    }
    at += static_cast<std::size_t>(wrote);
  }
  return "/proc/self/fd/" + std::to_string(fd);
}

}  // namespace

base::Result<std::string> find_trust_store(const std::string& chosen,
                                           const std::vector<std::string>& fallbacks) {
  std::string tried;
  const auto usable = [&tried](const std::string& path) {
    if (path.empty()) return false;
    if (readable(path)) return true;
    tried += (tried.empty() ? "" : ", ") + path;
    return false;
  };
  if (!chosen.empty()) {
    if (usable(chosen)) return chosen;
  } else {
    for (const char* name : {"SSL_CERT_FILE", "CURL_CA_BUNDLE", "REQUESTS_CA_BUNDLE"}) {
      if (const std::string path = from_environment(name); usable(path)) return path;
    }
    if (const std::string directory = from_environment("SSL_CERT_DIR"); !directory.empty()) {
      if (auto file = merged(directory)) return *std::move(file);
      tried += (tried.empty() ? "" : ", ") + directory;
    }
    for (const char* path : kSystem) {
      if (usable(path)) return std::string(path);
    }
    for (const std::string& path : fallbacks) {
      if (usable(path)) return path;
    }
  }
  return base::fail(base::Status(base::Code::kUnavailable,
                                 "no certificate authorities found, so nothing is trusted: install "
                                 "ca-certificates or set SSL_CERT_FILE; tried " +
                                     tried)
                        .with("stage", std::string("tls"))
                        .with("tried", tried));
}

}  // namespace dure::net
