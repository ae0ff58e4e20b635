#include <filesystem>
#include <memory>
#include <string>

#include "kudari/error.h"
#include "lab/console/progress.h"
#include "lab/data/parts/data_sources.h"
#include "lab/verbs/data_list.h"
#include "lab/verbs/verb.h"
#include "lab/verbs/verbs.h"

namespace kudari::lab {
namespace {

struct GetOptions {
  std::string name, mirror;
  std::filesystem::path out;
};

void GetData(const GetOptions& options, const Context& context) {
  const auto entry = EntryOfData(options.name);
  const DataSource& source = entry->source;
  if (source.files.empty()) {
    throw Error("data set \"" + entry->name + "\" cannot be downloaded: " + entry->doc);
  }
  const bool usual = options.out.empty();
  const std::filesystem::path folder = usual ? UsualFolder(source) : options.out;
  Progress progress(stdout);
  const auto found = usual ? WhereFound(*entry) : std::nullopt;
  if (found || IsComplete(source, folder)) {
    progress.Text(source.name + " is there: " + (found ? *found : folder).string() + "\n");
    return;
  }
  const Fetching& fetching = context.NeedFetching("data get");
  fetching.fetch(source, folder, options.mirror,
                 [&](const std::string& address, int64_t done, int64_t total) {
                   progress.Show({.what = address.substr(address.rfind('/') + 1),
                                  .done = static_cast<double>(done),
                                  .total = static_cast<double>(total)});
                 });
  progress.Text(source.name + ": " + folder.string() + "\n");
}

}  // namespace

void AddData(CLI::App& app, Context& context) {
  CLI::App* const data = app.add_subcommand("data", "List, describe and download data sets");
  data->require_subcommand(1);

  const auto list_json = std::make_shared<std::filesystem::path>();
  Verb list(*data, "list", "List the data sets that recipes may name, and where they are here");
  list.Json(*list_json, "every field");
  list.Run([list_json] { list_json->empty() ? ListData(stdout) : ListDataJson(*list_json); });

  const auto name = std::make_shared<std::string>();
  const auto info_json = std::make_shared<std::filesystem::path>();
  Verb info(*data, "info", "Show size, classes, source, licence, checksums and options of one");
  info->add_option("name", *name, "Data set")->required();
  info.Json(*info_json, "it");
  info.Run([name, info_json] {
    info_json->empty() ? DataInfo(*name, stdout) : DataInfoJson(*name, *info_json);
  });

  const auto options = std::make_shared<GetOptions>();
  Verb get(*data, "get",
           "Download one, with its checksum; goes on with what an earlier call began, and does "
           "nothing if it is there");
  get->add_option("name", options->name, "Data set")->required();
  get->add_option("--out", options->out,
                  "Folder to put it in; otherwise one in $KUDARI_DATA or .data")
      ->type_name("FOLDER");
  get->add_option("--from", options->mirror,
                  "Address of a folder that has its files, instead of their own")
      ->type_name("URL");
  get.Run([options, &context] { GetData(*options, context); });
}

}  // namespace kudari::lab
