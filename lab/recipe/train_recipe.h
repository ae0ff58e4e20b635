#ifndef KUDARI_LAB_RECIPE_TRAIN_RECIPE_H_
#define KUDARI_LAB_RECIPE_TRAIN_RECIPE_H_

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "kudari/description.h"
#include "kudari/grad_scaler.h"
#include "kudari/spec.h"
#include "lab/recipe/lab_registry.h"

namespace kudari::lab {

/// The [data] table: what it is trained on, with the options that all data sets have.
struct DataConfig : Chosen<DataEntry> {
  /// Digits.
  DataConfig();
  explicit DataConfig(Chosen<DataEntry> chosen) : Chosen<DataEntry>(std::move(chosen)) {}

  std::string path;
  double validation = 0.2;
  int64_t samples = 0;
  double label_noise = 0;

  friend bool operator==(const DataConfig&, const DataConfig&) = default;
};

/// The resized_crop of the [augment] table: the ranges that a box's share of the image, and its
/// width by its height, are drawn from.
struct ResizedCropConfig {
  double min_scale = 1, max_scale = 1;  ///< 1: none
  double min_ratio = 0.75, max_ratio = 4.0 / 3;

  friend bool operator==(const ResizedCropConfig&, const ResizedCropConfig&) = default;
};

/// The randaugment of the [augment] table: how many operations, and how strong.
struct RandAugmentConfig {
  int64_t n = 0, magnitude = 9;

  friend bool operator==(const RandAugmentConfig&, const RandAugmentConfig&) = default;
};

/// The [augment] table: what training samples are changed by, at random; nothing unless set.
struct AugmentConfig {
  double flip = 0;
  int64_t crop = 0;
  ResizedCropConfig resized_crop;
  RandAugmentConfig randaugment;
  int64_t cutout = 0;
  double random_erasing = 0, mixup = 0, cutmix = 0;

  friend bool operator==(const AugmentConfig&, const AugmentConfig&) = default;
};

/// When a run saves checkpoints: after so many steps, or so many seconds. With neither only where
/// it is interrupted.
struct SaveEvery {
  int64_t steps = 0;
  double seconds = 0;

  friend bool operator==(const SaveEvery&, const SaveEvery&) = default;
};

/// The [train] table: how.
struct TrainConfig {
  int64_t epochs = 0, steps = 0;  // never both 0 once read
  int64_t batch_size = 64, seed = 1;
  bool shuffle = true;
  int64_t eval_every = 0, layers_every = 20, trajectory_every = 0, threads = 0, workers = -1;
  std::string loss = "auto";
  double label_smoothing = 0;
  std::string init;
  std::vector<std::string> init_skip;  // patterns of names
  std::string classifier;
  double min_grad_norm = 0, min_loss_change = 0;
  int64_t early_stopping = 0;
  std::string monitor = "auto", save = "auto";
  double plateau_factor = 1, plateau_threshold = 1e-4;
  int64_t plateau_patience = 10, plateau_cooldown = 0;
  std::string precision = "f32", weights = "f32";
  std::variant<std::string, double> loss_scale = "auto";  // or "dynamic", "none" or a number
  int64_t growth_interval = 2000;
  bool doctor = true;
  SaveEvery save_every = {.seconds = 300};
  int64_t keep = 2;
  bool keep_best = false;

  friend bool operator==(const TrainConfig&, const TrainConfig&) = default;
};

/// The [hessian] table: how rules that use the diagonal of the Hessian get it; without effect for
/// others.
struct HessianConfig {
  int64_t every = 10;
  std::string estimator = "auto";

  friend bool operator==(const HessianConfig&, const HessianConfig&) = default;
};

/// The [fault] table: what goes wrong on purpose, to see what that looks like and to test
/// `kudari doctor` with.
struct FaultConfig {
  std::string missing, zero;
  double init_scale = 1;
  bool sum_accumulation = false;
  double bad_begin = 0, bad_end = 0;
  std::string bad = "labels";

  friend bool operator==(const FaultConfig&, const FaultConfig&) = default;
};

/// The model of that name with its default options, but for those that `options` has, lines of TOML
/// as in a recipe's [model] table. Throws Error as ParseTrainRecipe.
ModelConfig ModelNamed(std::string_view name, std::string_view options = "",
                       const LabRegistry& registry = LabRegistry::Builtin());

/// Everything that decides about a training run: a plain value that round-trips as TOML.
struct Recipe {
  ModelConfig model = ModelNamed("vit");
  DataConfig data;
  AugmentConfig augment;
  OptimizerSpec optimizer;  ///< of a model with parts: of the first
  /// Of the other parts in the order of ModelTraits::parts.
  std::vector<OptimizerSpec> other_optimizers;
  HessianConfig hessian;
  TrainConfig train;
  FaultConfig fault;

  friend bool operator==(const Recipe&, const Recipe&) = default;
};

/// Throws Error if the recipe's model has several optimisers, which `what` cannot work with.
void CheckOneOptimizer(const Recipe& recipe, std::string_view what);

/// The optimisers of a recipe with the names of the parts that they are for, "" for the whole.
std::vector<std::pair<std::string, const OptimizerSpec*>> OptimizersOf(const Recipe& recipe);

/// Whether the weights to be saved are those of the best evaluation rather than the last.
bool SavesBest(const TrainConfig& config);

/// How the loss is scaled, nothing if it is not: "auto" is dynamic if the model computes in float16
/// or its weights, and so their gradients, are float16.
std::optional<GradScalerOptions> LossScaling(const TrainConfig& config);

/// Changes to a recipe before it is read, in this order.
struct RecipeChanges {
  /// A table of the recipe's table [scale], "small" say, the values of which replace the recipe's;
  /// a model or data set with a name replaces the whole table. Empty: none.
  std::string scale = {};
  /// Keys that are removed, such as "train.steps" or, in the first of the optimiser's groups,
  /// "optimizer.group.0.lr".
  std::vector<std::string> unsets = {};
  /// "key=value"; the value is read as TOML, and as plain text if it is none.
  std::vector<std::string> sets = {};
};

/// Reads a recipe with changes. Every option that is not given gets its default. Throws Error
/// naming `source`, the line, the key, the range and, for an unknown key or name, the nearest known
/// one.
Recipe ParseTrainRecipe(std::string_view toml, std::string_view source,
                        const RecipeChanges& changes = {},
                        const LabRegistry& registry = LabRegistry::Builtin());

/// The same from a file.
Recipe ReadTrainRecipe(const std::filesystem::path& file, const RecipeChanges& changes = {});

/// The recipe with every option spelled out: ParseTrainRecipe(ToToml(recipe)) is the recipe.
std::string ToToml(const Recipe& recipe);

/// The tables [model], [data], [augment], [hessian], [train] and [fault] with their options, for
/// listings; those of a single model or data set say whose they are.
std::vector<Description> DescribeRecipe(const LabRegistry& registry = LabRegistry::Builtin());

}  // namespace kudari::lab

#endif  // KUDARI_LAB_RECIPE_TRAIN_RECIPE_H_
