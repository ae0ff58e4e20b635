#include "lab/verbs/torch_error.h"

#include <c10/util/Exception.h>

#include <new>
#include <string>

#include "kudari/error.h"

namespace kudari::lab {

int WithoutTraces(const std::function<int()>& f) {
  try {
    return f();
  } catch (const c10::Error& e) {
    const std::string message = e.what_without_backtrace();
    if (message.find("DefaultCPUAllocator") != std::string::npos) throw std::bad_alloc();
    throw Error(message);
  }
}

}  // namespace kudari::lab
