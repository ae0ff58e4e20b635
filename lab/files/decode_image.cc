#include "lab/files/decode_image.h"

#include <png.h>
#include <turbojpeg.h>

#include <fstream>
#include <memory>
#include <string>

#include "kudari/error.h"
#include "lab/files/text_file.h"

namespace kudari::lab {
namespace {

constexpr std::string_view kJpegBegin = "\xFF\xD8\xFF", kPngBegin = "\x89PNG\r\n\x1a\n";

void CheckSize(int64_t width, int64_t height) {
  if (width > 0 && height > 0 && width <= kMostPixels / height) return;
  throw Error("has " + std::to_string(width) + " by " + std::to_string(height) +
              " pixels, which is outside [1, " + std::to_string(kMostPixels) + "] in all");
}

class Jpeg {
 public:
  explicit Jpeg(std::string_view bytes)
      : handle_(tjInitDecompress()),
        bytes_(reinterpret_cast<const unsigned char*>(bytes.data())),
        size_(bytes.size()) {
    if (handle_ == nullptr) throw std::bad_alloc();
    int subsampling = 0;
    if (tjDecompressHeader3(handle_.get(), bytes_, size_, &width_, &height_, &subsampling,
                            &colours_) != 0) {
      Fail();
    }
    CheckSize(width_, height_);
  }

  Image Decode() const {
    // libjpeg gives no warning of some files that end too early.
    const std::string_view bytes(reinterpret_cast<const char*>(bytes_), size_);
    if (bytes.rfind("\xFF\xD9") == std::string_view::npos) {
      throw Error("is a damaged JPEG: it has no end");
    }
    const bool four = colours_ == TJCS_CMYK || colours_ == TJCS_YCCK;
    const auto pixels = static_cast<size_t>(width_) * static_cast<size_t>(height_);
    Image image{width_, height_, std::vector<uint8_t>(pixels * (four ? 4 : 3))};
    if (tjDecompress2(handle_.get(), bytes_, size_, image.rgb.data(), width_, 0, height_,
                      four ? TJPF_CMYK : TJPF_RGB, TJFLAG_LIMITSCANS) != 0) {
      // Bytes between two parts do no harm; other warnings are of data that is missing or wrong.
      const std::string_view what = tjGetErrorStr2(handle_.get());
      const bool harmless = what.find("extraneous bytes") != std::string_view::npos;
      if (tjGetErrorCode(handle_.get()) != TJERR_WARNING || !harmless) Fail();
    }
    if (four) ToRgb(image.rgb, pixels);
    return image;
  }

 private:
  struct Destroy {
    void operator()(void* handle) const { tjDestroy(handle); }
  };

  [[noreturn]] void Fail() const {
    throw Error(std::string("is a damaged JPEG: ") + tjGetErrorStr2(handle_.get()));
  }

  // In files the four inks are inverted, so that 255 is none.
  static void ToRgb(std::vector<uint8_t>& values, size_t pixels) {
    for (size_t i = 0; i < pixels; ++i) {
      const int black = values[4 * i + 3];
      for (size_t c = 0; c < 3; ++c) {
        values[3 * i + c] = static_cast<uint8_t>((values[4 * i + c] * black + 127) / 255);
      }
    }
    values.resize(3 * pixels);
  }

  std::unique_ptr<void, Destroy> handle_;
  const unsigned char* bytes_;
  size_t size_;
  int width_ = 0, height_ = 0, colours_ = 0;
};

class Png {
 public:
  explicit Png(std::string_view bytes) {
    image_.version = PNG_IMAGE_VERSION;
    if (png_image_begin_read_from_memory(&image_, bytes.data(), bytes.size()) == 0) Fail();
    try {
      CheckSize(image_.width, image_.height);
    } catch (...) {
      png_image_free(&image_);
      throw;
    }
  }
  ~Png() { png_image_free(&image_); }
  Png(const Png&) = delete;
  Png& operator=(const Png&) = delete;

  Image Decode() {
    const bool alpha = (image_.format & PNG_FORMAT_FLAG_ALPHA) != 0;
    image_.format = alpha ? PNG_FORMAT_RGBA : PNG_FORMAT_RGB;
    image_.flags |= PNG_IMAGE_FLAG_16BIT_sRGB;
    Image image{image_.width, image_.height, std::vector<uint8_t>(PNG_IMAGE_SIZE(image_))};
    if (png_image_finish_read(&image_, nullptr, image.rgb.data(), 0, nullptr) == 0) Fail();
    if (alpha) {
      const auto pixels = static_cast<size_t>(image.width * image.height);
      for (size_t i = 0; i < pixels; ++i) {
        for (size_t c = 0; c < 3; ++c) image.rgb[3 * i + c] = image.rgb[4 * i + c];
      }
      image.rgb.resize(3 * pixels);
    }
    return image;
  }

 private:
  [[noreturn]] void Fail() const {
    throw Error(std::string("is a damaged PNG: ") + static_cast<const char*>(image_.message));
  }

  png_image image_ = {};
};

[[noreturn]] void ThrowUnknown(std::string_view bytes) {
  throw Error(bytes.empty() ? "is empty" : "is neither a JPEG nor a PNG");
}

void CheckHeader(std::string_view bytes) {
  if (bytes.starts_with(kJpegBegin)) {
    const Jpeg jpeg(bytes);
  } else if (bytes.starts_with(kPngBegin)) {
    const Png png(bytes);
  } else {
    ThrowUnknown(bytes);
  }
}

}  // namespace

Image DecodeImage(std::string_view bytes) {
  if (bytes.starts_with(kJpegBegin)) return Jpeg(bytes).Decode();
  if (bytes.starts_with(kPngBegin)) return Png(bytes).Decode();
  ThrowUnknown(bytes);
}

void CheckImageHeader(const std::filesystem::path& path) {
  std::string begin(16384, '\0');
  std::ifstream file(path, std::ios::binary);
  file.read(begin.data(), static_cast<std::streamsize>(begin.size()));
  begin.resize(static_cast<size_t>(file.gcount()));
  try {
    CheckHeader(begin);
  } catch (const Error&) {
    // The size may come after a long profile or preview.
    const std::string whole = ReadTextFile(path);
    try {
      CheckHeader(whole);
    } catch (const Error& e) {
      throw Error(path.string() + ": " + e.what());
    }
  }
}

}  // namespace kudari::lab
