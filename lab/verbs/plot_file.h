#ifndef KUDARI_LAB_VERBS_PLOT_FILE_H_
#define KUDARI_LAB_VERBS_PLOT_FILE_H_

#include <filesystem>
#include <string>
#include <string_view>

namespace kudari::lab {

/// The picture of what a JSON text describes: `{"charts": [...], "columns": 1}`, at most 64 charts
/// in rows of `columns`, where charts of lines in rows of several have a common legend. A chart's
/// `kind` is one of
///
///     lines      (the default) `series` of `label`, `x`, `y` and, for bars, `error`; `log_x`,
///     `log_y`,
///                `x_ticks`, `y_least` and `y_most`
///     intervals  `rows` of `label`, `mean`, `error` and `values`
///     table      `columns`, names, and `rows` of `label`, `values` and `marked`; `z_least`
///     surface    `surface`, a function of `kudari landscape`, from `low` to `high`, and `dots` of
///                `label`, `x` and `y`
///
/// with `title`, `x_label` and `y_label`, as in lab/draw/chart.h; `note` is not drawn. Throws Error
/// beginning with `name`, which says what is missing, unknown or out of range.
std::string PlotSvg(std::string_view text, const std::string& name);

/// Writes PlotSvg of a file, of at most 4 MiB, to a picture, .svg or .png.
void PlotFile(const std::filesystem::path& file, const std::filesystem::path& picture);

}  // namespace kudari::lab

#endif  // KUDARI_LAB_VERBS_PLOT_FILE_H_
