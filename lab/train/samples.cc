#include "lab/train/samples.h"

#include <ATen/Parallel.h>

#include <algorithm>
#include <numeric>
#include <utility>
#include <vector>

namespace kudari::lab {
namespace {

using ::at::Tensor;

class TensorSource : public SampleSource {
 public:
  TensorSource(Tensor x, Tensor y) : x_(std::move(x)), y_(std::move(y)) {}

  int64_t size() const override { return x_.defined() ? x_.size(0) : 0; }
  bool in_memory() const override { return true; }
  Batch Rows(std::span<const int64_t> rows) const override {
    const Tensor index = ::torch::tensor(at::ArrayRef<int64_t>(rows.data(), rows.size()));
    return {x_.index_select(0, index), y_.index_select(0, index)};
  }
  Batch Range(int64_t begin, int64_t count) const override {
    return {x_.narrow(0, begin, count), y_.narrow(0, begin, count)};
  }

 private:
  Tensor x_, y_;
};

// Samples that are read from files, by torch's threads, when a batch needs them.
class FileSource : public SampleSource {
 public:
  FileSource(const Split& split, const Dataset& data) : split_(split), data_(data) {}

  int64_t size() const override { return split_.Size(); }
  Batch Rows(std::span<const int64_t> rows) const override {
    const auto count = static_cast<int64_t>(rows.size());
    std::vector<int64_t> shape = {count};
    shape.insert(shape.end(), data_.shape.begin(), data_.shape.end());
    const Tensor x = ::torch::empty(shape, ::torch::kFloat32);
    const int64_t width = count > 0 ? x.numel() / count : 0;
    at::parallel_for(0, count, 1, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        const auto row = static_cast<size_t>(rows[static_cast<size_t>(i)]);
        split_.read(split_.rows[row],
                    {x.data_ptr<float>() + i * width, static_cast<size_t>(width)});
      }
    });
    return {x, Answers(rows)};
  }

 private:
  Tensor Answers(std::span<const int64_t> rows) const {
    if (data_.classes > 0) {
      std::vector<int64_t> labels;
      for (const int64_t row : rows) labels.push_back(split_.labels[static_cast<size_t>(row)]);
      return ::torch::tensor(labels, ::torch::kInt64);
    }
    std::vector<float> targets;
    for (const int64_t row : rows) {
      const auto first = split_.targets.begin() + row * data_.target_size;
      targets.insert(targets.end(), first, first + data_.target_size);
    }
    return ::torch::tensor(targets).view({std::ssize(rows), data_.target_size});
  }

  const Split& split_;
  const Dataset& data_;
};

// Pieces of a text, with a class each or, where the next token is to be predicted, the same piece
// one token later.
class TokenSource : public SampleSource {
 public:
  TokenSource(const Split& split, const Dataset& data)
      : split_(split), context_(data.shape.at(0)), next_token_(data.next_token) {}

  int64_t size() const override { return split_.Size(); }
  Batch Rows(std::span<const int64_t> rows) const override {
    const auto count = static_cast<int64_t>(rows.size());
    const int64_t length = context_ + (next_token_ ? 1 : 0);
    const Tensor pieces = ::torch::empty({count, length}, ::torch::kInt64);
    std::vector<int64_t> labels;
    for (int64_t i = 0; i < count; ++i) {
      const auto row = static_cast<size_t>(rows[static_cast<size_t>(i)]);
      split_.tokens->Read(split_.begins[row],
                          {pieces.data_ptr<int64_t>() + i * length, static_cast<size_t>(length)});
      if (!next_token_) labels.push_back(split_.labels[row]);
    }
    if (!next_token_) return {pieces, ::torch::tensor(labels, ::torch::kInt64)};
    return {pieces.narrow(1, 0, context_), pieces.narrow(1, 1, context_)};
  }

 private:
  const Split& split_;
  int64_t context_;
  bool next_token_;
};

class FirstSource : public SampleSource {
 public:
  FirstSource(Samples all, int64_t count) : all_(std::move(all)), count_(count) {}

  int64_t size() const override { return count_; }
  bool in_memory() const override { return all_.in_memory(); }
  Batch Rows(std::span<const int64_t> rows) const override { return all_.Rows(rows); }
  Batch Range(int64_t begin, int64_t count) const override { return all_.Range(begin, count); }

 private:
  Samples all_;
  int64_t count_;
};

}  // namespace

Batch SampleSource::Range(int64_t begin, int64_t count) const {
  std::vector<int64_t> rows(static_cast<size_t>(count));
  std::iota(rows.begin(), rows.end(), begin);
  return Rows(rows);
}

Samples::Samples(Tensor x, Tensor y)
    : source_(std::make_shared<TensorSource>(std::move(x), std::move(y))) {}

Samples Samples::First(int64_t count) const {
  if (count >= size()) return *this;
  return Samples(std::make_shared<FirstSource>(*this, count));
}

Samples ToSamples(Split& split, const Dataset& data) {
  if (split.tokens) return Samples(std::make_shared<TokenSource>(split, data));
  if (split.read) return Samples(std::make_shared<FileSource>(split, data));
  const int64_t outputs = data.Outputs();
  std::vector<int64_t> shape = {split.Size()};
  shape.insert(shape.end(), data.shape.begin(), data.shape.end());
  const Tensor x = ::torch::from_blob(split.x.data(), shape, ::torch::kFloat32);
  if (data.classes > 0) {
    return {x, ::torch::from_blob(split.labels.data(), {split.Size()}, ::torch::kInt64)};
  }
  return {x, ::torch::from_blob(split.targets.data(), {split.Size(), outputs}, ::torch::kFloat32)};
}

}  // namespace kudari::lab
