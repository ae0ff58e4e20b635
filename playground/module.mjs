// The module as a function of JavaScript.

// Compiles the module and returns a function from questions to answers, see lab/landscape/playground.h.
// It throws an Error for a question that the library refuses.
export async function loadModule(bytes) {
  const compiled = await WebAssembly.compile(bytes);
  const encoder = new TextEncoder(), decoder = new TextDecoder();
  const kNotSupported = 58;  // of WASI's errors
  let library = null;
  const textAt = (at, size) => decoder.decode(new Uint8Array(library.memory.buffer, at, size));
  const imports = {
    kudari: { fail(at, size) { throw new Error(textAt(at, size)); } },
    // What C++ asks of its system: there is neither an environment nor a file.
    wasi_snapshot_preview1: {
      environ_get: () => 0,
      environ_sizes_get(count, size) {
        const view = new DataView(library.memory.buffer);
        view.setUint32(count, 0, true);
        view.setUint32(size, 0, true);
        return 0;
      },
      fd_close: () => kNotSupported,
      fd_seek: () => kNotSupported,
      fd_write: () => kNotSupported,
      proc_exit() { throw new Error("the library has ended"); },
    },
  };
  const start = () => {
    library = new WebAssembly.Instance(compiled, imports).exports;
    library._initialize();
  };
  return question => {
    if (library === null) start();
    try {
      const text = encoder.encode(JSON.stringify(question)), at = library.question(text.length);
      new Uint8Array(library.memory.buffer).set(text, at);
      const size = library.ask();
      return JSON.parse(textAt(library.answer(), size));
    } catch (error) {
      library = null;  // its stack was left as it was: the next question goes to a new one
      throw error;
    }
  };
}

// A value in TOML, on one line: an optimiser of a question as the program's --optimizer takes it.
export function tomlOf(value) {
  if (Array.isArray(value)) return `[${value.map(tomlOf).join(", ")}]`;
  if (typeof value !== "object") return JSON.stringify(value);
  return `{${Object.entries(value).map(([key, item]) => `${key} = ${tomlOf(item)}`).join(", ")}}`;
}
