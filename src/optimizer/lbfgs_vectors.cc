#include "optimizer/lbfgs_vectors.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <utility>

#include "core/elements.h"

namespace kudari::internal {
namespace {

/// Raises `most` to x.
void Raise(std::atomic<float>& most, float x) {
  float now = most.load(std::memory_order_relaxed);
  while (now < x && !most.compare_exchange_weak(now, x, std::memory_order_relaxed)) {
  }
}

}  // namespace

TensorVectors::TensorVectors(std::span<const Tensor> tensors, Backend& backend)
    : tensors_(tensors), backend_(backend) {
  constexpr size_t kLine = Backend::kAlignment / sizeof(float);
  for (const Tensor& t : tensors) {
    begins_.push_back(length_);
    sizes_.push_back(static_cast<size_t>(t.Size()));
    length_ += (sizes_.back() + kLine - 1) / kLine * kLine;
  }
  pairs_.reserve(tensors.size());
  moves_.reserve(tensors.size());
}

void TensorVectors::Reserve(size_t count) {
  const size_t bytes = length_ * sizeof(float);
  vectors_.reserve(count);
  while (vectors_.size() < count) {
    Buffer vector(backend_, bytes);
    backend_.Fill(vector.data(), 0, bytes);
    vectors_.push_back(std::move(vector));
  }
}

void TensorVectors::TakeGradient(size_t to) {
  pairs_.clear();
  for (size_t i = 0; i < tensors_.size(); ++i) {
    const Coded part = Part(to, i), gradient = GradientOf(tensors_[i]);
    if (gradient.data != nullptr) {
      pairs_.push_back({part, gradient, sizes_[i]});
    } else {
      backend_.Fill(part.data, 0, sizes_[i] * sizeof(float));
    }
  }
  backend_.Convert(pairs_, parallel_);
}

void TensorVectors::Move(double t, size_t direction) {
  moves_.clear();
  for (size_t i = 0; i < tensors_.size(); ++i) {
    moves_.push_back({.out = Visible(tensors_[i]),
                      .a = 1,
                      .x = SavedPart(i),
                      .b = static_cast<float>(t),
                      .y = Part(direction, i),
                      .n = sizes_[i]});
  }
  backend_.Combine(moves_, parallel_);
}

void TensorVectors::Combine(size_t out, double a, size_t x, double b, size_t y) {
  const Combination sum = {
      Whole(out), static_cast<float>(a), Whole(x), static_cast<float>(b), Whole(y), length_};
  backend_.Combine(std::span(&sum, 1), parallel_);
}

void TensorVectors::Scale(size_t out, double a, size_t x) {
  const Combination product = {Whole(out), static_cast<float>(a), Whole(x), 0, {}, length_};
  backend_.Combine(std::span(&product, 1), parallel_);
}

double TensorVectors::Dot(size_t a, size_t b) {
  const ArrayPair pair = {Whole(a), Whole(b), length_};
  backend_.SumProducts(std::span(&pair, 1), sums_, parallel_);
  return sums_.Of(0, 0);
}

Magnitudes TensorVectors::Measure(size_t a) {
  const Coded vector = Whole(a);
  std::atomic<float> largest = 0;
  const auto add = [&](size_t /*array*/, size_t begin, size_t end, BlockSums::Lanes& lanes) {
    float piece[kPiece], most = 0;
    for (size_t at = begin; at < end; at += kPiece) {
      const size_t n = std::min(kPiece, end - at);
      backend_.Load(vector, at, std::span(piece, n));
      for (size_t k = 0; k < n; ++k) {
        lanes[0][k % 16] += static_cast<double>(std::abs(piece[k]));
        most = std::max(most, std::abs(piece[k]));
      }
    }
    Raise(largest, most);
  };
  sums_.Run(
      1, [this](size_t) { return length_; }, parallel_, add);
  return {sums_.Of(0, 0), static_cast<double>(largest.load(std::memory_order_relaxed))};
}

void TensorVectors::CopyWeights(bool save) {
  pairs_.clear();
  for (size_t i = 0; i < tensors_.size(); ++i) {
    const Coded saved = SavedPart(i), weights = Visible(tensors_[i]);
    pairs_.push_back({save ? saved : weights, save ? weights : saved, sizes_[i] * sizeof(float)});
  }
  backend_.Copy(pairs_, parallel_);
}

}  // namespace kudari::internal
