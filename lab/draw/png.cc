#include "lab/draw/png.h"

#include <dlfcn.h>
#include <fmt/format.h>
#include <librsvg/rsvg.h>

#include <cmath>
#include <cstring>
#include <memory>

#include "kudari/error.h"

namespace kudari::lab {
namespace {

// librsvg and what it brings are loaded when the first PNG is drawn: that takes as long as the rest
// of the program takes to run, and few pictures are PNG.
class Libraries {
 public:
  Libraries()
      : rsvg_(Open("librsvg-2.so.2")),
        cairo_(Open("libcairo.so.2")),
        object_(Open("libgobject-2.0.so.0")),
        glib_(Open("libglib-2.0.so.0")) {}

  void* rsvg() const { return rsvg_; }
  void* cairo() const { return cairo_; }
  void* object() const { return object_; }
  void* glib() const { return glib_; }

 private:
  // It is never unloaded, since it keeps types for as long as the program runs.
  static void* Open(const char* name) {
    void* const library = dlopen(name, RTLD_NOW | RTLD_LOCAL);
    if (library != nullptr) return library;
    throw Error(fmt::format(
        "pictures become PNG by librsvg, which cannot be loaded ({}); Debian has it in the package "
        "librsvg2-2, and .svg needs none",
        dlerror()));
  }

  void *rsvg_, *cairo_, *object_, *glib_;
};

// A function of a library, by its declaration.
template <class F>
F* Function(void* library, const char* name) {
  void* const symbol = dlsym(library, name);
  if (symbol == nullptr) throw Error(fmt::format("librsvg is too old: it has no {}", name));
  F* function = nullptr;
  std::memcpy(&function, &symbol, sizeof(function));
  return function;
}

#define KUDARI_LOADED(library, name) Function<decltype(name)>(libraries.library(), #name)

cairo_status_t Append(void* bytes, const unsigned char* data, unsigned int length) {
  static_cast<std::string*>(bytes)->append(reinterpret_cast<const char*>(data), length);
  return CAIRO_STATUS_SUCCESS;
}

}  // namespace

std::string PngOfSvg(const std::string& svg) {
  constexpr double kZoom = 2;
  static const Libraries libraries;
  const auto unref = KUDARI_LOADED(object, g_object_unref);
  const auto free_error = KUDARI_LOADED(glib, g_error_free);
  GError* error = nullptr;
  const auto check = [&](bool good) {
    if (good) return;
    const std::string reason = error == nullptr ? "no reason given" : error->message;
    if (error != nullptr) free_error(error);
    throw Error("librsvg cannot draw the picture: " + reason);
  };
  const std::unique_ptr<RsvgHandle, void (*)(gpointer)> handle(
      KUDARI_LOADED(rsvg, rsvg_handle_new_from_data)(reinterpret_cast<const guint8*>(svg.data()),
                                                     svg.size(), &error),
      unref);
  check(handle != nullptr);
  double width = 0, height = 0;
  check(KUDARI_LOADED(rsvg, rsvg_handle_get_intrinsic_size_in_pixels)(handle.get(), &width,
                                                                      &height) != 0);
  const RsvgRectangle page = {0, 0, kZoom * width, kZoom * height};
  const std::unique_ptr<cairo_surface_t, void (*)(cairo_surface_t*)> surface(
      KUDARI_LOADED(cairo, cairo_image_surface_create)(CAIRO_FORMAT_RGB24,
                                                       static_cast<int>(std::lround(page.width)),
                                                       static_cast<int>(std::lround(page.height))),
      KUDARI_LOADED(cairo, cairo_surface_destroy));
  const std::unique_ptr<cairo_t, void (*)(cairo_t*)> canvas(
      KUDARI_LOADED(cairo, cairo_create)(surface.get()), KUDARI_LOADED(cairo, cairo_destroy));
  check(KUDARI_LOADED(rsvg, rsvg_handle_render_document)(handle.get(), canvas.get(), &page,
                                                         &error) != 0);
  std::string bytes;
  const cairo_status_t status =
      KUDARI_LOADED(cairo, cairo_surface_write_to_png_stream)(surface.get(), &Append, &bytes);
  if (status != CAIRO_STATUS_SUCCESS) {
    throw Error(fmt::format("cairo cannot write the picture: {}",
                            KUDARI_LOADED(cairo, cairo_status_to_string)(status)));
  }
  return bytes;
}

#undef KUDARI_LOADED

}  // namespace kudari::lab
