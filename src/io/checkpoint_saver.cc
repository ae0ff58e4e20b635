#ifdef __linux__
#include <sys/resource.h>
#include <unistd.h>
#endif

#include <atomic>
#include <exception>
#include <string>
#include <system_error>
#include <thread>
#include <utility>

#include "kudari/checkpoint.h"
#include "kudari/error.h"

namespace kudari {
namespace {

// Has the thread take what the program's other threads leave of the processors: where they compute
// on all of them, one that has to wait for a core holds up the others. On Linux a thread has a
// priority of its own.
void StepBack() {
#ifdef __linux__
  constexpr int kSteps = 10;  // a tenth of the others' weight; the system stops at the lowest
  const auto thread = static_cast<id_t>(gettid());
  setpriority(PRIO_PROCESS, thread, getpriority(PRIO_PROCESS, thread) + kSteps);
#endif
}

}  // namespace

struct CheckpointSaver::Work {
  std::atomic<bool> done = false;
  std::filesystem::path saved;
  std::exception_ptr failure;
  std::jthread thread;  // the last member, so that it ends before the others do
};

CheckpointSaver::CheckpointSaver(std::filesystem::path folder, CheckpointOptions options)
    : folder_(std::move(folder)), options_(std::move(options)) {
  options_.retention.Check();
}

CheckpointSaver::~CheckpointSaver() = default;

void CheckpointSaver::Save(StateTree state, CheckpointManifest manifest) {
  Wait();
  auto work = std::make_unique<Work>();
  auto save = [folder = folder_, options = options_, to = work.get(), state = std::move(state),
               manifest = std::move(manifest)]() mutable {
    StepBack();
    try {
      to->saved = SaveCheckpoint(folder, state, manifest, options);
    } catch (...) {
      to->failure = std::current_exception();
    }
    state = {};
    to->done = true;
  };
  try {
    work->thread = std::jthread(std::move(save));
  } catch (const std::system_error& e) {
    throw Error(folder_.string() + ": there can be no thread that saves: " + e.what());
  }
  work_ = std::move(work);
}

void CheckpointSaver::SetRetention(CheckpointRetention retention) {
  retention.Check();
  options_.retention = std::move(retention);
}

bool CheckpointSaver::saving() const { return work_ != nullptr && !work_->done; }

std::optional<std::filesystem::path> CheckpointSaver::Saved() {
  if (work_ == nullptr || !work_->done) return std::nullopt;
  return Wait();
}

std::optional<std::filesystem::path> CheckpointSaver::Wait() {
  if (work_ == nullptr) return std::nullopt;
  const std::unique_ptr<Work> work = std::move(work_);
  work->thread.join();
  if (work->failure) std::rethrow_exception(work->failure);
  return std::move(work->saved);
}

}  // namespace kudari
