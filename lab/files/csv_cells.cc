#include "lab/files/csv_cells.h"

#include <csv.h>

#include <algorithm>
#include <exception>

namespace kudari::lab {
namespace {

// Between libcsv and the handler. It is called by C, which no exception may pass: what is thrown is
// kept for the caller of the parser.
class Caller {
 public:
  explicit Caller(CsvHandler& handler) : handler_(handler) {}

  static void OnCell(void* bytes, size_t size, void* to) {
    static_cast<Caller*>(to)->Guard([=](Caller& caller) {
      const std::string_view cell =
          size == 0 ? "" : std::string_view(static_cast<const char*>(bytes), size);
      caller.handler_.Cell(cell, caller.line - std::ranges::count(cell, '\n'));
    });
  }
  static void OnEnd(int by, void* to) {
    static_cast<Caller*>(to)->Guard([by](Caller& caller) { caller.handler_.EndRow(by >= 0); });
  }
  void Rethrow() const {
    if (thrown_ != nullptr) std::rethrow_exception(thrown_);
  }

  int64_t line = 1;  // that the parser is in

 private:
  template <class F>
  void Guard(const F& f) {
    if (thrown_ != nullptr) return;
    try {
      f(*this);
    } catch (...) {
      thrown_ = std::current_exception();
    }
  }

  CsvHandler& handler_;
  std::exception_ptr thrown_;
};

}  // namespace

std::optional<CsvFault> ParseCsvCells(std::string_view text, char separator, CsvEnd end,
                                      CsvHandler& handler) {
  constexpr size_t kPart = size_t{1} << 16;
  struct Parser {
    csv_parser state;
    ~Parser() { csv_free(&state); }
  } parser;
  csv_init(&parser.state,
           CSV_STRICT | (end == CsvEnd::kWhole ? static_cast<int>(CSV_STRICT_FINI) : 0));
  csv_set_delim(&parser.state, static_cast<unsigned char>(separator));
  Caller caller(handler);
  const auto fault = [&] { return CsvFault{caller.line, csv_strerror(csv_error(&parser.state))}; };
  while (!text.empty()) {
    // A line at a time, so that its number is known.
    const size_t feed = text.substr(0, kPart).find('\n');
    const std::string_view part = text.substr(0, feed == std::string_view::npos ? kPart : feed + 1);
    text.remove_prefix(part.size());
    const size_t parsed = csv_parse(&parser.state, part.data(), part.size(), &Caller::OnCell,
                                    &Caller::OnEnd, &caller);
    caller.Rethrow();
    if (parsed != part.size()) return fault();
    if (feed != std::string_view::npos) ++caller.line;
  }
  const int result = csv_fini(&parser.state, &Caller::OnCell, &Caller::OnEnd, &caller);
  caller.Rethrow();
  if (result != 0) return fault();
  return std::nullopt;
}

}  // namespace kudari::lab
