# What the landscape page and the playground share: their look (pages.css), the curves with the controls
# that play the steps (playback.html), and drawing (plot.js).
set(KUDARI_PAGE_PARTS ${CMAKE_CURRENT_LIST_DIR}/pages.css ${CMAKE_CURRENT_LIST_DIR}/playback.html
    ${CMAKE_CURRENT_LIST_DIR}/plot.js)

# kudari_page(OUT FILE): the page in FILE, with these parts in it.
function(kudari_page out file)
  file(READ ${file} page)
  foreach(part STYLE PLAYBACK PLOT)
    list(POP_FRONT KUDARI_PAGE_PARTS source)
    file(READ ${source} text)
    string(REGEX REPLACE "\n$" "" text "${text}")
    string(REPLACE KUDARI_${part} "${text}" page "${page}")
  endforeach()
  set(${out} "${page}" PARENT_SCOPE)
endfunction()
