#include "lab/train/sample_pictures.h"

#include <torch/torch.h>

#include <cmath>
#include <utility>
#include <vector>

#include "lab/draw/pictures.h"
#include "lab/files/encode_image.h"
#include "lab/files/run_folder.h"
#include "lab/train/session.h"

namespace kudari::lab {

std::string SampleGrid(Generator& generator, const ImageInput& images, int64_t count,
                       uint64_t seed) {
  const ::torch::NoGradGuard no_grad;
  const at::Generator random = at::detail::createCPUGenerator(seed);
  const at::Tensor samples = generator.Generate(count, random).to(at::kFloat).contiguous();
  std::vector<Image> pictures;
  for (int64_t i = 0; i < count; ++i) {
    const at::Tensor sample = samples[i];
    pictures.push_back(
        images.Picture({sample.data_ptr<float>(), static_cast<size_t>(sample.numel())}));
  }
  const auto columns = static_cast<int64_t>(std::ceil(std::sqrt(static_cast<double>(count))));
  return EncodePng(ImageGrid(pictures, columns));
}

SamplePictures::SamplePictures(Session& session, std::filesystem::path file)
    : file_(std::move(file)), images_(InputOf(session.data())) {
  if (images_.Known()) generator_ = dynamic_cast<Generator*>(&session.model());
}

void SamplePictures::OnShown(const ShownEvent& event) { Draw(event.session); }

void SamplePictures::OnEnd(const EndEvent& event) {
  if (!event.run.diverged) Draw(event.session);
}

void SamplePictures::Draw(Session& session) const {
  if (generator_ == nullptr) return;
  constexpr uint64_t kSeed = 1;
  session.model().eval();
  const std::string picture = SampleGrid(*generator_, images_, kSampleCount, kSeed);
  session.model().train();
  WriteRunFile(file_, picture);
}

}  // namespace kudari::lab
