#ifndef KUDARI_LAB_RECIPE_ADVICE_CHART_H_
#define KUDARI_LAB_RECIPE_ADVICE_CHART_H_

#include <string>

namespace kudari::lab {

/// The whole decision chart of advice.toml as a tree of text, with its notes and sources.
std::string ChartText();

/// All settings of advice.toml as a table that fits a screen, one row for each task and size of
/// batch, and one for each priority.
std::string QuickReference();

}  // namespace kudari::lab

#endif  // KUDARI_LAB_RECIPE_ADVICE_CHART_H_
