#include "lab/verbs/verb.h"

#include <system_error>

#include "lab/console/usage_error.h"
#include "lab/files/output_file.h"

namespace kudari::lab {

void Verb::Recipe(std::filesystem::path& recipe) {
  app_->add_option("recipe", recipe, "Recipe, a TOML file")->required();
}

void Verb::Changes(RecipeChanges& changes) {
  // One argument each, so that the recipe may come after it.
  const auto add = [this](const std::string& name, std::vector<std::string>& to,
                          const std::string& type, const std::string& description) {
    app_->add_option_function<std::string>(
            name, [&to](const std::string& change) { to.push_back(change); }, description)
        ->type_name(type)
        ->trigger_on_parse();
  };
  add("--set", changes.sets, "KEY=VALUE", "Change a value of the recipe; may be repeated");
  add("--unset", changes.unsets, "KEY",
      "Remove a key of the recipe, before --set; may be repeated");
  app_->add_option("--scale", changes.scale,
                   "Apply the recipe's table [scale.NAME] first, such as small, for two cores")
      ->type_name("NAME");
}

CLI::Option* Verb::Output(const std::string& name, std::filesystem::path& file,
                          const std::string& description) {
  outputs_->files.emplace_back(name, &file);
  return app_->add_option(name, file, description)->type_name("FILE");
}

CLI::Option* Verb::Json(std::filesystem::path& file, const std::string& what) {
  return Output("--json", file, "Print " + what + " as JSON, or write it to this file")
      ->type_name("[FILE]");
}

void Verb::Force(bool& force, const std::string& description) {
  app_->add_flag("--force", force, description);
  outputs_->force = &force;
}

void Verb::Run(std::function<void()> run) {
  if (!outputs_->files.empty() && outputs_->force == nullptr) {
    Force(outputs_->overwrite, "Overwrite files that exist");
  }
  app_->callback([outputs = outputs_, run = std::move(run)] {
    outputs->Check();
    run();
  });
}

void Verb::Outputs::Check() const {
  if (force != nullptr && *force) return;
  for (const auto& [name, file] : files) {
    std::error_code ignored;
    // Devices and pipes are nothing that could be lost.
    if (file->empty() || IsStandardOutput(*file)) continue;
    if (!std::filesystem::is_regular_file(*file, ignored)) continue;
    throw UsageError(name + " " + file->string() + ": exists already; --force overwrites it");
  }
}

}  // namespace kudari::lab
