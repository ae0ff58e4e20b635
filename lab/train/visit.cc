#include "lab/train/visit.h"

#include <functional>
#include <locale>
#include <sstream>

namespace kudari::lab {

void VisitRandom(std::string_view name, std::mt19937_64& random, StateVisitor& visitor) {
  const auto save = [&] {
    std::ostringstream out;
    out.imbue(std::locale::classic());
    out << random;
    return StateTree(out.str());
  };
  const auto load = [&](const StateTree& found) -> std::function<void()> {
    std::istringstream in(found.Text());
    in.imbue(std::locale::classic());
    std::mt19937_64 loaded;
    if (!(in >> loaded)) visitor.Fail(name, "is not the state of a random generator");
    return [&random, loaded] { random = loaded; };
  };
  visitor.Custom(name, save, load);
}

}  // namespace kudari::lab
