#include "part.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <cstring>
#include <utility>

#include "dure/base/hash.h"

namespace dure::index {
namespace {

static_assert(std::endian::native == std::endian::little, "segments are little-endian");

constexpr std::uint64_t kMagic = 0x31474553'45525544;  // "DURESEG1"
constexpr std::uint32_t kVersion = 1;
constexpr std::size_t kSections = 8;
constexpr std::size_t kCopyRows = 1024;

// With product codes, kLowest holds them, and there are no codes and no other links.
enum Section : std::size_t { kChunks, kHeads, kCodes, kLowest, kLevels, kUpper, kUpperAt, kExact };
enum Kind : std::uint32_t { kGraph, kProductCodes };

struct SectionEntry {
  std::uint64_t offset;
  std::uint64_t size;
  std::uint64_t hash;  // XXH3 of the bytes; kExact: their CRC-32C, computed as they are streamed
};

struct Header {
  std::uint64_t magic;
  std::uint32_t version;
  std::uint32_t metric;
  std::uint64_t dim;
  std::uint64_t rows;
  std::uint32_t stride;
  std::int32_t entry;
  std::int32_t top_level;
  std::uint32_t kind;
  SectionEntry sections[kSections];
  std::uint64_t hash;  // of all before it
};
static_assert(sizeof(Header) == 48 + kSections * sizeof(SectionEntry) + 8);

template <typename T>
std::string_view bytes_of(const std::vector<T>& values) noexcept {
  return {reinterpret_cast<const char*>(values.data()), values.size() * sizeof(T)};
}

std::uint64_t header_hash(const Header& header) noexcept {
  return base::hash64(
      {reinterpret_cast<const char*>(&header), sizeof(Header) - sizeof(header.hash)});
}

base::Status damaged(const std::string& path) {
  return {base::Code::kCorrupt, "segment " + path + " is damaged: it is built again"};
}

template <typename T>
base::Result<std::vector<T>> read_section(base::ReadFile& file, const SectionEntry& entry,
                                          const std::string& path) {
  auto bytes = file.read_at(entry.offset, entry.size);
  if (!bytes) return base::fail(std::move(bytes.error()));
  if (bytes->size() != entry.size || entry.size % sizeof(T) != 0 ||
      base::hash64(*bytes) != entry.hash) {
    return base::fail(damaged(path));
  }
  std::vector<T> values(entry.size / sizeof(T));
  if (!values.empty()) std::memcpy(values.data(), bytes->data(), bytes->size());
  return values;
}

// Lengths that follow from the header must be those of the table, before anything is allocated.
bool plausible(const Header& header, std::uint64_t file_size) noexcept {
  if (header.rows == 0 || header.rows >= (1U << 24U) || header.dim == 0 || header.dim > 65536) {
    return false;
  }
  const auto is = [&header](Section section, std::uint64_t size) {
    return header.sections[section].size == size;
  };
  for (const SectionEntry& entry : header.sections) {
    if (entry.offset > file_size || entry.size > file_size - entry.offset) return false;
  }
  if (!is(kChunks, header.rows * 8) || !is(kHeads, header.rows * sizeof(CodeHead)) ||
      !is(kExact, header.rows * header.dim * 4)) {
    return false;
  }
  if (header.kind == kProductCodes) return is(kCodes, 0);
  return header.kind == kGraph && is(kCodes, header.rows * header.dim) &&
         is(kLowest, header.rows * header.stride * 4) && is(kLevels, header.rows) &&
         is(kUpperAt, header.rows * 4);
}

base::Result<Graph> load_graph(base::ReadFile& file, const Header& header,
                               const std::string& path) {
  GraphData links;
  links.stride = header.stride;
  links.entry = header.entry;
  links.top_level = header.top_level;
  auto lowest = read_section<std::int32_t>(file, header.sections[kLowest], path);
  auto levels = read_section<std::uint8_t>(file, header.sections[kLevels], path);
  auto upper = read_section<std::int32_t>(file, header.sections[kUpper], path);
  auto upper_at = read_section<std::uint32_t>(file, header.sections[kUpperAt], path);
  if (!lowest || !levels || !upper || !upper_at) return base::fail(damaged(path));
  links.lowest = std::move(*lowest);
  links.levels = std::move(*levels);
  links.upper = std::move(*upper);
  links.upper_at = std::move(*upper_at);
  auto graph = Graph::load(std::move(links), header.rows);
  if (!graph) return base::fail(damaged(path));
  return graph;
}

}  // namespace

Part::~Part() {
  if (descriptor_ >= 0) ::close(descriptor_);
}

std::int64_t Part::find(std::int64_t chunk) const noexcept {
  const auto at = std::lower_bound(chunks_.begin(), chunks_.end(), chunk);
  return at != chunks_.end() && *at == chunk ? at - chunks_.begin() : -1;
}

void Part::widen_worst(const CodeHead& head) noexcept {
  worst_.error = std::max(worst_.error, head.error);
  worst_.squares = std::max(worst_.squares, head.squares);
}

void Part::append(std::int64_t chunk, const float* vector) {
  chunks_.push_back(chunk);
  codes_.resize(codes_.size() + dim_);
  heads_.push_back(encode(vector, dim_, codes_.data() + codes_.size() - dim_));
  widen_worst(heads_.back());
  exact_.insert(exact_.end(), vector, vector + dim_);
}

base::Status Part::read(std::size_t row, float* out) const {
  if (descriptor_ < 0) {
    std::copy_n(exact_.data() + row * dim_, dim_, out);
    return {};
  }
  const std::size_t size = dim_ * sizeof(float);
  const auto offset = static_cast<off_t>(rows_at_ + row * size);
  std::size_t done = 0;
  while (done < size) {
    const ssize_t got = ::pread(descriptor_, reinterpret_cast<char*>(out) + done, size - done,
                                offset + static_cast<off_t>(done));
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return {base::Code::kIo, "cannot read a row of segment " + file_};
    done += static_cast<std::size_t>(got);
  }
  return {};
}

void Part::copy_row(std::vector<Origin>& origins, Origin from, bool with_code) {
  const Part& part = *from.part;
  chunks_.push_back(part.chunks_[from.row]);
  if (with_code && !part.ivf_) {
    const auto code = part.codes_.begin() + static_cast<std::ptrdiff_t>(from.row * dim_);
    codes_.insert(codes_.end(), code, code + static_cast<std::ptrdiff_t>(dim_));
  } else if (with_code) {  // it has none: made anew in connect()
    codes_.resize(codes_.size() + dim_);
  }
  heads_.push_back(part.heads_[from.row]);
  widen_worst(heads_.back());
  origins.push_back(from);
}

base::Status Part::open_rows(const std::string& path, std::uint64_t offset) {
  descriptor_ = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (descriptor_ < 0) return {base::Code::kIo, "cannot open segment " + path};
  rows_at_ = offset;
  return {};
}

base::Result<std::shared_ptr<Part>> Part::seal(std::span<const std::shared_ptr<const Part>> parts,
                                               const SealForm& form, base::Files& files,
                                               const std::string& folder, const std::string& name,
                                               const std::atomic<bool>& stop) {
  const Part& front = *parts.front();
  auto made = std::make_shared<Part>(front.first_, front.dim_, front.metric_);
  std::vector<Origin> origins;
  for (const auto& part : parts) {
    // A part that was closed early leaves numbers without rows before the next one: they are
    // filled with copies of its last row, which are never live.
    const bool codes = !form.product_codes;
    while (made->first_ + made->size() < part->first_) {
      made->copy_row(origins, origins.back(), codes);
    }
    for (std::size_t row = 0; row < part->size(); ++row) {
      made->copy_row(origins, {part.get(), row}, codes);
    }
  }
  DURE_RETURN_IF_ERROR(made->connect(origins, form, stop));
  made->file_ = name;
  const std::string path = folder + "/" + name;
  DURE_RETURN_IF_ERROR(made->write(files, path, origins));
  DURE_RETURN_IF_ERROR(files.sync_folder(folder));
  auto back = load(files, folder, name, made->first_, made->dim_, made->metric_);
  if (!back) return base::fail(std::move(back.error()));
  return *back;
}

base::Status Part::connect(const std::vector<Origin>& origins, const SealForm& form,
                           const std::atomic<bool>& stop) {
  const auto read = [&origins](std::size_t row, float* out) {
    return origins[row].part->read(origins[row].row, out);
  };
  if (form.product_codes) {
    auto made = IvfPq::build(origins.size(), dim_, metric_, read, stop);
    if (!made) return std::move(made.error());
    ivf_.emplace(std::move(*made));
    return {};
  }
  std::vector<float> vector(dim_);
  for (std::size_t row = 0; row < origins.size(); ++row) {
    if (!origins[row].part->ivf_) continue;
    if (base::Status status = read(row, vector.data()); !status.ok()) return status;
    (void)encode(vector.data(), dim_, codes_.data() + row * dim_);
  }
  auto graph = Graph::build(rows(), metric_, form.graph, stop);
  if (!graph) return std::move(graph.error());
  graph_ = std::move(*graph);
  return {};
}

base::Status Part::write(base::Files& files, const std::string& path,
                         const std::vector<Origin>& origins) const {
  static const GraphData kNone;
  const GraphData& links = graph_ ? graph_->data() : kNone;
  const std::string product = ivf_ ? ivf_->bytes() : std::string();
  const std::string_view lowest = ivf_ ? std::string_view(product) : bytes_of(links.lowest);
  const std::string_view sections[kSections - 1] = {
      bytes_of(chunks_),      bytes_of(heads_),      bytes_of(codes_),        lowest,
      bytes_of(links.levels), bytes_of(links.upper), bytes_of(links.upper_at)};
  Header header{};
  header.magic = kMagic;
  header.version = kVersion;
  header.metric = static_cast<std::uint32_t>(metric_);
  header.dim = dim_;
  header.rows = size();
  header.stride = links.stride;
  header.entry = links.entry;
  header.top_level = links.top_level;
  header.kind = ivf_ ? kProductCodes : kGraph;
  std::uint64_t offset = sizeof(Header);
  for (std::size_t i = 0; i + 1 < kSections; ++i) {
    header.sections[i] = {offset, sections[i].size(), base::hash64(sections[i])};
    offset += sections[i].size();
  }
  // Two passes over the single-precision rows: the header that goes first holds their hash.
  const auto each_block = [&](auto&& take) -> base::Status {
    std::vector<float> block(kCopyRows * dim_);
    for (std::size_t row = 0; row < origins.size(); row += kCopyRows) {
      const std::size_t count = std::min(kCopyRows, origins.size() - row);
      for (std::size_t i = 0; i < count; ++i) {
        const Origin& from = origins[row + i];
        if (base::Status status = from.part->read(from.row, block.data() + i * dim_);
            !status.ok()) {
          return status;
        }
      }
      const std::string_view bytes(reinterpret_cast<const char*>(block.data()),
                                   count * dim_ * sizeof(float));
      if (base::Status status = take(bytes); !status.ok()) return status;
    }
    return {};
  };
  std::uint32_t crc = 0;
  base::Status status = each_block([&crc](std::string_view bytes) {
    crc = base::crc32c(bytes, crc);
    return base::Status();
  });
  if (!status.ok()) return status;
  header.sections[kExact] = {offset, size() * dim_ * sizeof(float), crc};
  header.hash = header_hash(header);

  auto file = files.open_append(path, true);
  if (!file) return file.error();
  status = (*file)->append({reinterpret_cast<const char*>(&header), sizeof(Header)});
  for (std::size_t i = 0; status.ok() && i + 1 < kSections; ++i) {
    status = (*file)->append(sections[i]);
  }
  if (status.ok()) {
    status = each_block([&file](std::string_view bytes) { return (*file)->append(bytes); });
  }
  if (status.ok()) status = (*file)->sync();
  if (!status.ok()) (void)files.remove(path);
  return status;
}

base::Result<std::shared_ptr<Part>> Part::load(base::Files& files, const std::string& folder,
                                               const std::string& name, std::uint32_t first,
                                               std::size_t dim, Metric metric) {
  const std::string path = folder + "/" + name;
  auto file = files.open_read(path);
  if (!file) return base::fail(damaged(path));
  const auto size = (*file)->size();
  const auto head = (*file)->read_at(0, sizeof(Header));
  if (!size || !head || head->size() != sizeof(Header)) return base::fail(damaged(path));
  Header header;
  std::memcpy(&header, head->data(), sizeof(Header));
  if (header.magic != kMagic || header.version != kVersion || header.hash != header_hash(header) ||
      header.dim != dim || header.metric != static_cast<std::uint32_t>(metric) ||
      !plausible(header, *size)) {
    return base::fail(damaged(path));
  }
  auto chunks = read_section<std::int64_t>(**file, header.sections[kChunks], path);
  auto heads = read_section<CodeHead>(**file, header.sections[kHeads], path);
  auto codes = read_section<std::uint8_t>(**file, header.sections[kCodes], path);
  if (!chunks || !heads || !codes) return base::fail(damaged(path));
  const SectionEntry& exact = header.sections[kExact];
  std::uint32_t crc = 0;
  for (std::uint64_t at = 0; at < exact.size;) {
    const auto block = (*file)->read_at(
        exact.offset + at, std::min<std::uint64_t>(std::uint64_t{1} << 20U, exact.size - at));
    if (!block || block->empty()) return base::fail(damaged(path));
    crc = base::crc32c(*block, crc);
    at += block->size();
  }
  if (crc != exact.hash || !std::is_sorted(chunks->begin(), chunks->end())) {
    return base::fail(damaged(path));
  }
  auto part = std::make_shared<Part>(first, dim, metric);
  if (header.kind == kProductCodes) {
    auto product = read_section<char>(**file, header.sections[kLowest], path);
    if (!product) return base::fail(std::move(product.error()));
    auto ivf = IvfPq::load({product->data(), product->size()}, header.rows, dim, metric);
    if (!ivf) return base::fail(damaged(path));
    part->ivf_.emplace(std::move(*ivf));
  } else {
    auto graph = load_graph(**file, header, path);
    if (!graph) return base::fail(std::move(graph.error()));
    part->graph_ = std::move(*graph);
  }
  part->chunks_ = std::move(*chunks);
  part->heads_ = std::move(*heads);
  part->codes_ = std::move(*codes);
  for (const CodeHead& one : part->heads_) part->widen_worst(one);
  part->file_ = name;
  DURE_RETURN_IF_ERROR(part->open_rows(path, exact.offset));
  return part;
}

}  // namespace dure::index
