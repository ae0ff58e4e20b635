// A command's arguments, in one grammar for all of them.
#ifndef KUDARI_LAB_VERBS_VERB_H_
#define KUDARI_LAB_VERBS_VERB_H_

#include <CLI/CLI.hpp>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "lab/recipe/train_recipe.h"

namespace kudari::lab {

/// A command as it is being added to the program.
class Verb {
 public:
  Verb(CLI::App& app, const std::string& name, const std::string& description)
      : app_(app.add_subcommand(name, description)), outputs_(std::make_shared<Outputs>()) {}

  CLI::App* operator->() const { return app_; }

  /// The recipe, which must be given.
  void Recipe(std::filesystem::path& recipe);
  /// Changes to the recipe: --scale NAME, and --set KEY=VALUE and --unset KEY, as often as needed.
  void Changes(RecipeChanges& changes);
  /// An option that names a file to write. Unless --force is given, a file that is there is not
  /// overwritten.
  CLI::Option* Output(const std::string& name, std::filesystem::path& file,
                      const std::string& description);
  /// --json, alone or with "-" for standard output, or with a file.
  CLI::Option* Json(std::filesystem::path& file, const std::string& what);
  /// --force for a command that does more with it than to overwrite files.
  void Force(bool& force, const std::string& description);
  /// What the command does. All options have been added before.
  void Run(std::function<void()> run);

 private:
  struct Outputs {
    std::vector<std::pair<std::string, const std::filesystem::path*>> files;
    bool overwrite = false;
    const bool* force = nullptr;  // whether --force was given; null until the option is added

    /// Throws UsageError if one of them exists.
    void Check() const;
  };

  CLI::App* app_;
  std::shared_ptr<Outputs> outputs_;
};

}  // namespace kudari::lab

#endif  // KUDARI_LAB_VERBS_VERB_H_
