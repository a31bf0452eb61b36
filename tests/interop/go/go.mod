module stompnotify/interop

go 1.19
