#include "lab/logs/run_log_fields.h"

#include <algorithm>
#include <cctype>
#include <set>

namespace kudari::lab {

// Names of Lightning, Hugging Face, Keras, fairseq, timm, detectron2, mmdetection, Megatron,
// nanoGPT, Stable Baselines and of many scripts. The terms are those of Ultralytics' models.
const std::vector<LogField>& LogFields() {
  static const std::vector<LogField> fields = {
      {"step",
       {"step", "global_step", "trainer_global_step", "train_step", "train_global_step",
        "total_timesteps", "time_total_timesteps", "iteration", "iter", "steps", "iterations",
        "num_updates", "iter_num", "train_iter", "train_iteration", "optimizer_step"}},
      {"epoch", {"epoch", "train_epoch", "current_epoch"}},
      {"loss",
       {"loss",
        "train_loss",
        "loss_train",
        "training_loss",
        "loss_training",
        "train_loss_step",
        "loss_step",
        "batch_loss",
        "train_batch_loss",
        "train_loss_batch",
        "loss_batch",
        "train_epoch_loss",
        "epoch_loss",
        "train_loss_epoch",
        "loss_epoch",
        "total_loss",
        "loss_total",
        "train_total_loss",
        "train_loss_total",
        "total_loss_train",
        "lm_loss",
        "train_lm_loss",
        "ctc_loss",
        "train_ctc_loss",
        "avg_loss",
        "mean_loss",
        "average_loss",
        "avg_train_loss",
        "train_avg_loss",
        "train_mean_loss",
        "value_loss",
        "train_value_loss"},
       {"train_box_loss", "train_obj_loss", "train_cls_loss", "train_dfl_loss", "train_seg_loss",
        "train_sem_loss", "train_pose_loss", "train_kobj_loss", "train_rle_loss", "train_giou_loss",
        "train_l1_loss"}},
      {"lr",
       {"lr", "learning_rate", "train_lr", "train_learning_rate", "epoch_lr", "train_epoch_lr",
        "epoch_learning_rate", "train_epoch_learning_rate", "lr_*", "learning_rate_*"}},
      {"grad_norm",
       {"grad_norm", "gradient_norm", "total_norm", "gnorm", "train_grad_norm", "train_gnorm",
        "train_gradient_norm", "grad_2_0_norm_total", "total_grad_norm", "global_grad_norm",
        "norm"}},
      {"micro_grad_norm", {"micro_grad_norm"}},
      {"loss_scale", {"loss_scale", "train_loss_scale", "grad_scale"}},
      {"lost", {"numerics_lost"}},
      {"skipped", {"skipped", "skipped_iterations"}},
      {"val_loss",
       {"val_loss",          "valid_loss",
        "validation_loss",   "eval_loss",
        "loss_val",          "loss_valid",
        "loss_validation",   "loss_eval",
        "val_loss_epoch",    "validation_epoch_loss",
        "val_epoch_loss",    "valid_loss_epoch",
        "val_total_loss",    "val_lm_loss",
        "val_lm_loss_value", "val_ctc_loss",
        "avg_val_loss",      "val_avg_loss",
        "dev_loss",          "loss_dev",
        "test_loss",         "loss_test",
        "test_loss_epoch",   "test_epoch_loss"},
       {"val_box_loss", "val_obj_loss", "val_cls_loss", "val_dfl_loss", "val_seg_loss",
        "val_sem_loss", "val_pose_loss", "val_kobj_loss", "val_rle_loss", "val_giou_loss",
        "val_l1_loss"}},
      {"val_accuracy",
       {"val_accuracy",
        "val_acc",
        "valid_accuracy",
        "valid_acc",
        "validation_accuracy",
        "validation_acc",
        "eval_accuracy",
        "eval_acc",
        "accuracy_val",
        "acc_val",
        "val_acc_epoch",
        "val_accuracy_epoch",
        "validation_epoch_accuracy",
        "val_epoch_accuracy",
        "eval_top1",
        "val_top1",
        "dev_accuracy",
        "dev_acc",
        "test_accuracy",
        "test_acc",
        "test_acc1"}}};
  return fields;
}

const LogField& LogFieldOf(std::string_view name) {
  return *std::ranges::find(LogFields(), name, &LogField::name);
}

std::string PlainName(std::string_view name) {
  constexpr std::string_view kAfterRun = " - ";
  if (const size_t at = name.rfind(kAfterRun); at != std::string_view::npos) {
    name.remove_prefix(at + kAfterRun.size());
  }
  std::string plain;
  for (const char c : name) {
    const auto byte = static_cast<unsigned char>(c);
    if (std::isalnum(byte) != 0) {
      plain += static_cast<char>(std::tolower(byte));
    } else if (!plain.empty() && plain.back() != '_') {
      plain += '_';
    }
  }
  if (plain.ends_with('_')) plain.pop_back();
  return plain;
}

bool IsNamed(const LogField& field, std::string_view plain) {
  return std::ranges::any_of(field.columns, [plain](std::string_view pattern) {
    if (!pattern.ends_with('*')) return plain == pattern;
    return plain.starts_with(pattern.substr(0, pattern.size() - 1));
  });
}

bool IsLogField(std::string_view plain) {
  static const auto names = [] {
    std::set<std::string_view> all;
    for (const LogField& f : LogFields()) all.insert(f.columns.begin(), f.columns.end());
    return all;
  }();
  return names.contains(plain);
}

bool IsHeldOut(std::string_view plain) {
  static const std::set<std::string_view> names = {"val",        "valid", "validation", "eval",
                                                   "evaluation", "test",  "dev"};
  return names.contains(plain);
}

bool IsPart(std::string_view plain) {
  return plain == "train" || plain == "training" || IsHeldOut(plain);
}

}  // namespace kudari::lab
