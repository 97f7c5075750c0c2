import Foundation
import Glibc
import Testing

@testable import ControlHub

/// A TCP connection to a hub, byte by byte; for tests with a limit on their time.
private final class RawConnection: Sendable {
    private let descriptor: Int32

    init(_ address: String) throws {
        let port = try #require(address.split(separator: ":").last.flatMap { UInt16($0) })
        descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
        var place = sockaddr_in()
        place.sin_family = sa_family_t(AF_INET)
        place.sin_port = port.bigEndian
        place.sin_addr.s_addr = inet_addr("127.0.0.1")
        let result = withUnsafePointer(to: &place) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                connect(descriptor, $0, socklen_t(MemoryLayout<sockaddr_in>.size))
            }
        }
        try #require(result == 0)
        var limit = timeval(tv_sec: 10, tv_usec: 0)
        setsockopt(descriptor, SOL_SOCKET, SO_RCVTIMEO, &limit, socklen_t(MemoryLayout<timeval>.size))
    }

    deinit { close(descriptor) }

    func send(_ text: String) {
        let bytes = Array(text.utf8)
        _ = Glibc.send(descriptor, bytes, bytes.count, Int32(MSG_NOSIGNAL))
    }

    /// Reads until `text` was read, or to the end. On a thread of its own: the hub needs those of the pool.
    func read(until text: String) async -> String {
        await withCheckedContinuation { continuation in
            DispatchQueue.global().async { continuation.resume(returning: self.readNow(until: text)) }
        }
    }

    private func readNow(until text: String) -> String {
        var all = ""
        var buffer = [UInt8](repeating: 0, count: 4096)
        while !all.contains(text) {
            let count = recv(descriptor, &buffer, buffer.count, 0)
            guard count > 0 else { break }
            all += String(decoding: buffer[..<count], as: UTF8.self)
        }
        return all
    }
}

@Suite("A connection", .timeLimit(.minutes(1)))
struct RawConnectionTests {
    @Test("whose request asks whether it may send its body is told to go on, and is answered after that")
    func expectation() async throws {
        try await RunningHub.run { hub in
            let connection = try RawConnection(hub.address)
            let token = try await hub.parts.operators.add(name: "o", role: .admin, by: .hub).token ?? ""
            for number in 1...2 {
                let body = #"{"name":"node-\#(number)"}"#
                connection.send(
                    "POST /api/nodes HTTP/1.1\r\nHost: hub\r\nContent-Type: application/json\r\n"
                        + "Authorization: Bearer \(token)\r\nContent-Length: \(body.utf8.count)\r\n"
                        + "Expect: 100-continue\r\n\r\n"
                )
                let interim = await connection.read(until: "\r\n\r\n")
                #expect(interim.hasPrefix("HTTP/1.1 100 "), "\(interim)")
                #expect(!interim.lowercased().contains("content-length"), "\(interim)")
                connection.send(body)
                let answer = await connection.read(until: "}")
                #expect(answer.hasPrefix("HTTP/1.1 201 ") && answer.contains("node-\(number)"), "\(answer)")
            }
            // HTTP/1.0 knows no such answer.
            let old = try RawConnection(hub.address)
            old.send("POST /api/nodes HTTP/1.0\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n{}")
            let answer = await old.read(until: "}")
            #expect(answer.hasPrefix("HTTP/1.") && answer.contains(" 401 ") && !answer.contains(" 100 "), "\(answer)")
        }
    }

    @Test("of plain HTTP on the TLS port is told to use https")
    func plainOnTLS() async throws {
        try await RunningHub.run([.insecureHTTP: "false"]) { hub in
            for method in ["GET / HTTP/1.1", "POST /api/session HTTP/1.0"] {
                let connection = try RawConnection(hub.address)
                connection.send("\(method)\r\nHost: hub\r\n\r\n")
                let answer = await connection.read(until: "}")
                #expect(answer.hasPrefix("HTTP/1.1 400 ") && answer.contains("https://"), "\(answer)")
                #expect(answer.contains("Connection: close"))
                #expect(await connection.read(until: "never").isEmpty, "it is closed")
            }
            // And TLS is spoken as before, also where its first record comes in pieces.
            let connection = try RawConnection(hub.address)
            connection.send("\u{16}\u{3}")
            connection.send("\u{1}\u{7F}\u{7F}")
            #expect(await !connection.read(until: "never").contains("HTTP"))
        }
    }
}
