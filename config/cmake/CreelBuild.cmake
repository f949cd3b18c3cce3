# What every target of ours shares: the language, the warnings, the sanitizers, embedded files.

set(CMAKE_C_STANDARD 17)
set(CMAKE_C_STANDARD_REQUIRED ON)
set(CMAKE_C_EXTENSIONS OFF)
set(CMAKE_C_FLAGS_DEBUG "-O1 -g") # what the sanitizers are built with: usable speed, usable traces
set(CMAKE_C_FLAGS_RELEASE "-O2") # asserts stay in: a broken invariant must not reach the disk
set(CMAKE_C_FLAGS_RELWITHDEBINFO "-O2 -g")
set(CMAKE_POSITION_INDEPENDENT_CODE ON)

add_library(creel_flags INTERFACE)
target_compile_definitions(creel_flags INTERFACE _GNU_SOURCE)
target_include_directories(creel_flags INTERFACE "${CMAKE_SOURCE_DIR}" "${CMAKE_BINARY_DIR}/generated")

# Called once the options are known.
function(creel_configure_flags)
  target_compile_options(creel_flags INTERFACE
    $<$<COMPILE_LANGUAGE:C>:-Wall -Wextra -Wconversion -Wshadow -Wvla -Wformat=2
      -Wmissing-prototypes -Wstrict-prototypes -Wno-format-truncation -fno-omit-frame-pointer>)
  if(CREEL_WERROR)
    target_compile_options(creel_flags INTERFACE $<$<COMPILE_LANGUAGE:C>:-Werror>)
  endif()
  if(SANITIZE)
    target_compile_options(creel_flags INTERFACE -fsanitize=${SANITIZE} -fno-sanitize-recover=all)
    target_link_options(creel_flags INTERFACE -fsanitize=${SANITIZE})
    target_compile_definitions(creel_flags INTERFACE CREEL_SANITIZE="${SANITIZE}")
  else()
    target_compile_options(creel_flags INTERFACE
      $<$<AND:$<COMPILE_LANGUAGE:C>,$<NOT:$<CONFIG:Debug>>>:-D_FORTIFY_SOURCE=2>
      -fstack-protector-strong)
  endif()
endfunction()

# creel_library(creel_store LINK creel_base SQLite::SQLite3): every .c of the folder (and EXTRA) as a static library.
function(creel_library name)
  cmake_parse_arguments(arg "" "" "LINK;EXTRA" ${ARGN})
  file(GLOB sources CONFIGURE_DEPENDS "${CMAKE_CURRENT_SOURCE_DIR}/*.c")
  add_library(${name} STATIC ${sources} ${arg_EXTRA})
  target_link_libraries(${name} PUBLIC creel_flags ${arg_LINK})
endfunction()

# creel_embed(target file...): each file becomes the symbols embed_<path with _>, embed_<path with _>_end.
function(creel_embed target)
  foreach(file ${ARGN})
    file(RELATIVE_PATH name "${CMAKE_SOURCE_DIR}" "${file}")
    string(REGEX REPLACE "[^A-Za-z0-9]" "_" symbol "${name}")
    set(assembly "${CMAKE_BINARY_DIR}/generated/embed_${symbol}.S")
    file(CONFIGURE OUTPUT "${assembly}" @ONLY CONTENT
"        .section .rodata
        .global embed_@symbol@
        .global embed_@symbol@_end
        .balign 16
embed_@symbol@:
        .incbin \"@file@\"
embed_@symbol@_end:
        .byte 0
        .section .note.GNU-stack,\"\",%progbits
")
    set_source_files_properties("${assembly}" PROPERTIES OBJECT_DEPENDS "${file}")
    target_sources(${target} PRIVATE "${assembly}")
  endforeach()
endfunction()
