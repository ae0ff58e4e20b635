# cmake -DMODULE=FILE.wasm -DPAGE=FILE.html -P page.cmake: writes the page with all that it needs.
execute_process(COMMAND gzip -9nc ${MODULE} COMMAND base64 -w0
                OUTPUT_VARIABLE module COMMAND_ERROR_IS_FATAL ANY)
include(${CMAKE_CURRENT_LIST_DIR}/../lab/landscape/pages.cmake)
kudari_page(page ${CMAKE_CURRENT_LIST_DIR}/page.html)
file(READ ${CMAKE_CURRENT_LIST_DIR}/module.mjs loader)
file(READ ${CMAKE_CURRENT_LIST_DIR}/page.js script)
file(READ ${CMAKE_CURRENT_LIST_DIR}/presets.json presets)
string(REPLACE "<" "\\u003c" presets "${presets}")
string(REPLACE KUDARI_LOADER "${loader}" page "${page}")
string(REPLACE KUDARI_PRESETS "${presets}" page "${page}")
string(REPLACE KUDARI_SCRIPT "${script}" page "${page}")
string(REPLACE KUDARI_MODULE "${module}" page "${page}")
file(WRITE ${PAGE} "${page}")
