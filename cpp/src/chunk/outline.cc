#include "chunk/outline.h"

#include <utility>

namespace dure::chunk {
namespace {

// The headings above the last of `headings` that begins before `bytes`, and all from there on.
std::vector<Heading> still_above(std::vector<Heading> headings, std::size_t bytes) {
  const auto later = std::find_if(headings.begin(), headings.end(),
                                  [bytes](const Heading& one) { return one.at >= bytes; });
  std::vector<Heading> above;  // innermost first
  for (auto one = later; one != headings.begin();) {
    --one;
    if (above.empty() || one->level < above.back().level) above.push_back(std::move(*one));
  }
  std::reverse(above.begin(), above.end());
  above.insert(above.end(), std::make_move_iterator(later),
               std::make_move_iterator(headings.end()));
  return above;
}

}  // namespace

void OutlineScanner::move(std::size_t bytes) {
  std::erase_if(out_.marks, [bytes](const Mark& one) { return one.at < bytes; });
  std::erase_if(out_.atoms, [bytes](const Atom& one) { return one.end <= bytes; });
  std::erase_if(out_.repeats, [bytes](const Repeat& one) { return one.end <= bytes; });
  out_.headings = still_above(std::move(out_.headings), bytes);
  for (Mark& one : out_.marks) one.at -= bytes;
  for (Heading& one : out_.headings) move_back(one.at, bytes);
  for (Atom& one : out_.atoms)
    for (std::size_t* at : {&one.start, &one.end, &one.lead}) move_back(*at, bytes);
  for (Repeat& one : out_.repeats)
    for (std::size_t* at : {&one.header_start, &one.header_end, &one.end}) move_back(*at, bytes);
  move_back(settled_, bytes);
  shift(bytes);
}

}  // namespace dure::chunk
