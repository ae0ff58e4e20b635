// Tensors that are added to an optimiser at work.
#include <algorithm>
#include <cstddef>
#include <iterator>
#include <memory>
#include <string>
#include <utility>

#include "kudari/error.h"
#include "kudari/recipe.h"
#include "kudari/stages.h"
#include "optimizer/impl.h"
#include "sources/sources.h"

namespace kudari {

/// Leaves the first `count` tensors, as if the others had not been added. Nothing fails: averagers
/// that took them in let them go.
void Optimizer::Impl::DropTensors(size_t count) {
  const auto behind = static_cast<std::ptrdiff_t>(count);
  for (size_t i = count; i < records.size(); ++i) --cohorts[records[i].cohort].users;
  if (records.size() > count) records.erase(records.begin() + behind, records.end());
  tensor_list.erase(tensor_list.begin() + behind, tensor_list.end());
  if (layers.size() > count) layers.resize(count);
  freezes = std::ranges::any_of(
      cohorts, [](const internal::Cohort& c) { return c.users > 0 && c.Freezes(); });
}

/// Appends tensors that the groups of the spec, those from `first_group` on, treat.
void Optimizer::Impl::TakeTensors(std::vector<Tensor> added, size_t first_group,
                                  const Registry& registry) {
  tensor_list.reserve(tensor_list.size() + added.size());
  std::ranges::move(added, std::back_inserter(tensor_list));
  internal::CheckTensors(tensor_list);
  TreatTensors(first_group, registry);
  CheckSlotNames();
  BindParameters();
  // One that is only made, to say what does not suit it.
  internal::FindSource(spec.source).make(spec, std::make_unique<PlainSource>(), *this);
  for (const Follower& f : averagers) {
    if (!f.started || f.averager->Resize(*this)) continue;
    throw Error("AddTensors: the averager \"" + std::string(f.averager->Name()) +
                "\" cannot take in tensors");
  }
}

void Optimizer::Impl::AddTensors(std::vector<Tensor> added, const std::vector<Group>& groups,
                                 const Registry& registry) {
  CheckBetweenSteps("AddTensors");
  if (sum_over_processes != nullptr) {
    throw Error(
        "AddTensors: the work is shared between processes; give each all tensors when its "
        "optimiser is made");
  }
  const Inside inside(*this);
  OptimizerSpec wider = spec;
  wider.groups.insert(wider.groups.end(), groups.begin(), groups.end());
  wider = Complete(wider, registry);
  internal::CheckResolved(wider);
  const size_t count = tensor_list.size(), first_group = spec.groups.size();
  std::swap(spec, wider);
  try {
    TakeTensors(std::move(added), first_group, registry);
  } catch (...) {
    std::swap(spec, wider);
    DropTensors(count);
    for (const Follower& f : averagers) {
      if (f.started) f.averager->Resize(*this);
    }
    throw;
  }
  divided = false;  // the next step divides the work again
}

void Optimizer::AddTensors(std::vector<Tensor> tensors, const std::vector<Group>& groups,
                           const Registry& registry) {
  impl_->AddTensors(std::move(tensors), groups, registry);
}

}  // namespace kudari
