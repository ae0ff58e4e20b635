// The files that the page of a report is made of; CMake writes report_page.cc.
#ifndef KUDARI_LAB_REPORT_REPORT_PAGE_H_
#define KUDARI_LAB_REPORT_REPORT_PAGE_H_

#include <string_view>

namespace kudari::lab {

/// The page, report.html, with places for the others and for the data: KUDARI_CHART_LICENCE,
/// KUDARI_CHART_STYLE, KUDARI_STYLE, KUDARI_CHART_SCRIPT, KUDARI_SCRIPT and KUDARI_DATA.
extern const std::string_view kReportHtml;
extern const std::string_view kReportStyle;   ///< report.css
extern const std::string_view kReportScript;  ///< report.js
/// uPlot's style, script and licence.
extern const std::string_view kChartStyle, kChartScript, kChartLicence;

}  // namespace kudari::lab

#endif  // KUDARI_LAB_REPORT_REPORT_PAGE_H_
