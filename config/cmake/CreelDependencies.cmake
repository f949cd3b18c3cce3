# Finds what creel is built on and names, all at once, each missing thing and the Debian package that has it.

find_package(PkgConfig QUIET)
if(NOT PKG_CONFIG_FOUND)
  message(FATAL_ERROR "creel needs pkg-config to find its libraries: apt-get install pkg-config")
endif()
set(THREADS_PREFER_PTHREAD_FLAG ON)
find_package(Threads REQUIRED)

set(missing "")

# need(target module[>=version] package what for)
macro(need target module package)
  pkg_check_modules(${target} QUIET IMPORTED_TARGET GLOBAL "${module}")
  if(NOT ${target}_FOUND)
    string(APPEND missing "  ${module}: apt-get install ${package}\n")
  endif()
endmacro()

need(sqlite "sqlite3>=3.37" libsqlite3-dev)
need(curl "libcurl>=7.84" libcurl4-openssl-dev)
need(crypto "libcrypto>=3.0" libssl-dev)
need(yaml "yaml-0.1" libyaml-dev)
need(turbojpeg "libturbojpeg" libturbojpeg0-dev)
need(jpeg "libjpeg" libjpeg62-turbo-dev)
need(png "libpng" libpng-dev)
need(zlib "zlib" zlib1g-dev)
need(microhttpd "libmicrohttpd>=0.9.73" libmicrohttpd-dev)
need(jansson "jansson>=2.13" libjansson-dev)
need(archive "libarchive" libarchive-dev)
need(expat "expat" libexpat1-dev)
if(CREEL_TESTS)
  need(check "check" check)
endif()

find_package(Darknet QUIET)
if(NOT Darknet_FOUND)
  string(APPEND missing
    "  darknet: sh config/setup.sh darknet (unpacks Debian's package into build/darknet),\n"
    "           or apt-get install darknet, or -DDARKNET_ROOT=<a build of your own>\n")
endif()
if(missing)
  message(FATAL_ERROR "creel cannot be built; missing:\n${missing}"
    "sh config/setup.sh build installs all of them.")
endif()

# creel_option(NAME modules packages): ON when found, unless the user said otherwise.
macro(creel_option name module package)
  pkg_check_modules(${name} QUIET IMPORTED_TARGET GLOBAL ${module})
  option(CREEL_WITH_${name} "use ${module} (${package})" ${${name}_FOUND})
  if(CREEL_WITH_${name} AND NOT ${name}_FOUND)
    message(FATAL_ERROR "CREEL_WITH_${name} is ON, but ${module} is not here: apt-get install ${package}")
  endif()
  if(CREEL_WITH_${name})
    target_compile_definitions(creel_flags INTERFACE HAVE_${name}=1)
  endif()
endmacro()

creel_option(FFMPEG "libavformat;libavcodec;libavdevice;libavutil;libswscale"
  "libavformat-dev libavcodec-dev libavdevice-dev libswscale-dev")
creel_option(SECCOMP "libseccomp" libseccomp-dev)
creel_option(SYSTEMD "libsystemd" libsystemd-dev)

creel_configure_flags()
