import Foundation
import Glibc

/// A TCP listener on loopback whose connections are handled by blocking code on a thread of their own.
final class TestListener: Sendable {
    struct Failure: Error {}

    /// One accepted connection.
    struct Connection: Sendable {
        let descriptor: Int32

        /// Blocks for the next bytes; empty at the end.
        func read() -> [UInt8] {
            var buffer = [UInt8](repeating: 0, count: 65536)
            let count = Glibc.recv(descriptor, &buffer, buffer.count, 0)
            return Array(buffer.prefix(max(count, 0)))
        }

        /// Reads up to and including `ending`.
        func read(until ending: String) -> String {
            var text = ""
            while !text.contains(ending) {
                let bytes = read()
                if bytes.isEmpty { break }
                text += String(decoding: bytes, as: UTF8.self)
            }
            return text
        }

        func write(_ bytes: [UInt8]) {
            var rest = bytes[...]
            while !rest.isEmpty {
                let count = rest.withUnsafeBytes {
                    Glibc.send(descriptor, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL))
                }
                guard count > 0 else { return }
                rest = rest.dropFirst(count)
            }
        }

        func write(_ text: String) {
            write(Array(text.utf8))
        }

        /// Ends the connection with a reset instead of an orderly end.
        func reset() {
            var linger = linger(l_onoff: 1, l_linger: 0)
            setsockopt(descriptor, SOL_SOCKET, SO_LINGER, &linger, socklen_t(MemoryLayout.size(ofValue: linger)))
        }
    }

    private let descriptor: Int32
    let port: Int

    /// Listens; each connection is given to `handler` and closed after it, and `handler` may block.
    init(backlog: Int32 = 16, handler: (@Sendable (Connection) -> Void)? = nil) throws {
        descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_addr.s_addr = UInt32(0x7F00_0001).bigEndian
        var length = socklen_t(MemoryLayout<sockaddr_in>.size)
        let listener = descriptor
        let isBound = withUnsafeMutablePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                bind(listener, $0, length) == 0 && listen(listener, backlog) == 0
                    && getsockname(listener, $0, &length) == 0
            }
        }
        port = Int(in_port_t(bigEndian: address.sin_port))
        guard isBound else { throw Failure() }
        guard let handler else { return }
        Thread.detachNewThread {
            while true {
                let accepted = accept(listener, nil, nil)
                guard accepted >= 0 else { return }
                _ = fcntl(accepted, F_SETFD, FD_CLOEXEC)
                Thread.detachNewThread {
                    handler(Connection(descriptor: accepted))
                    close(accepted)
                }
            }
        }
    }

    deinit {
        // Wakes the thread in `accept`, which then sees the error and ends.
        shutdown(descriptor, Int32(SHUT_RDWR))
        close(descriptor)
    }
}
