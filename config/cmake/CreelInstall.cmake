# What `cmake --install` puts where. Only the worker needs Darknet: when that came unpacked into the build tree, it and
# the stand-ins for OpenCV's names are installed beside the worker, and the worker looks for them there.

set(libexec "${CMAKE_INSTALL_LIBEXECDIR}/creel")
install(TARGETS creel RUNTIME DESTINATION "${CMAKE_INSTALL_BINDIR}")
install(TARGETS creel-worker-cpu RUNTIME DESTINATION "${libexec}")
if(TARGET creel-worker-alexeyab)
  install(TARGETS creel-worker-alexeyab RUNTIME DESTINATION "${libexec}")
  set_target_properties(creel-worker-alexeyab PROPERTIES INSTALL_RPATH "${Darknet_ALEXEYAB_LIBRARY_DIR}")
endif()
if(TARGET creel-capture)
  install(TARGETS creel-capture RUNTIME DESTINATION "${libexec}")
endif()
if(TARGET creel-worker-cuda)
  install(TARGETS creel-worker-cuda RUNTIME DESTINATION "${libexec}")
  set_target_properties(creel-worker-cuda PROPERTIES INSTALL_RPATH "${Darknet_CUDA_LIBRARY_DIR}")
endif()

string(FIND "${Darknet_LIBRARY}" "${CMAKE_SOURCE_DIR}/build/" private_at)
if(private_at EQUAL 0)
  install(FILES "${Darknet_LIBRARY}" DESTINATION "${libexec}/darknet")
endif()
if(Darknet_STAND_INS)
  install(DIRECTORY "${CMAKE_BINARY_DIR}/darknet-stand-ins/" DESTINATION "${libexec}/darknet")
endif()
set_target_properties(creel-worker-cpu PROPERTIES
  INSTALL_RPATH "\$ORIGIN/darknet;/usr/lib/darknet;${DARKNET_ROOT}" )

install(DIRECTORY "${CMAKE_SOURCE_DIR}/inference/models/demo"
  DESTINATION "${CMAKE_INSTALL_DATADIR}/creel/models")
install(FILES "${CMAKE_SOURCE_DIR}/config/creel.yaml"
  DESTINATION "${CMAKE_INSTALL_DATADIR}/doc/creel/examples")
install(FILES "${CMAKE_SOURCE_DIR}/config/creel.service" DESTINATION lib/systemd/system)
install(FILES "${CMAKE_SOURCE_DIR}/config/creel.sysusers" DESTINATION lib/sysusers.d RENAME creel.conf)
install(FILES "${CMAKE_SOURCE_DIR}/config/man/creel.1" DESTINATION "${CMAKE_INSTALL_MANDIR}/man1")
install(FILES "${CMAKE_SOURCE_DIR}/config/man/creel.yaml.5" DESTINATION "${CMAKE_INSTALL_MANDIR}/man5")
