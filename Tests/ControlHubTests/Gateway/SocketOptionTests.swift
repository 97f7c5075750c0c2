import Foundation
import Glibc
import Testing
import WireFormat

@testable import ControlHub

@Suite("Sockets of the link")
struct SocketOptionTests {
    /// Both ends of the connection lie in this process: found by their addresses.
    private func descriptors(port: UInt16) throws -> [Int32] {
        // Other tests hold many, so the numbers may be high.
        try FileManager.default.contentsOfDirectory(atPath: "/proc/self/fd").compactMap(Int32.init).filter {
            descriptor in
            [getsockname, getpeername].contains { name in
                var address = sockaddr_in()
                var length = socklen_t(MemoryLayout<sockaddr_in>.size)
                let isKnown = withUnsafeMutablePointer(to: &address) {
                    $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { name(descriptor, $0, &length) == 0 }
                }
                var kind: Int32 = 0
                var kindLength = socklen_t(MemoryLayout<Int32>.size)
                getsockopt(descriptor, SOL_SOCKET, SO_ACCEPTCONN, &kind, &kindLength)
                return isKnown && kind == 0 && address.sin_family == sa_family_t(AF_INET)
                    && UInt16(bigEndian: address.sin_port) == port
            }
        }
    }

    private func option(_ name: Int32, of descriptor: Int32) -> Int32 {
        var value: Int32 = -1
        var length = socklen_t(MemoryLayout<Int32>.size)
        getsockopt(descriptor, Int32(IPPROTO_TCP), name, &value, &length)
        return value
    }

    @Test("send small messages at once and keep little in the system, on both ends")
    func both() async throws {
        try await RunningHub.run { hub in
            let node = try await hub.node()
            let port = try #require(hub.address.split(separator: ":").last.flatMap { UInt16($0) })
            _ = try await hub.session(node.token) { event, _ in
                guard case .welcomed = event else { return true }
                let ends = try descriptors(port: port)
                #expect(ends.count == 2, "the hub's end and the agent's")
                for end in ends {
                    #expect(option(TCP_NODELAY, of: end) == 1)
                }
                // The agent's link is the slow one, so its end keeps the least.
                #expect(ends.map { option(TCP_NOTSENT_LOWAT, of: $0) }.sorted() == [4096, 16384])
                return false
            }
        }
    }
}
