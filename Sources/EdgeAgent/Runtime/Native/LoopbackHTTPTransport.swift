import Dispatch
import Glibc

/// HTTP/1.1 to a bot on this machine: one request a connection, answers up to 1 MiB.
///
/// Runs on a queue of its own with deadlines on every wait; nothing of it blocks the cooperative pool.
struct LoopbackHTTPTransport: BotChatTransport {
    private static let maximumAnswerBytes = 1 << 20
    private let queue = DispatchQueue(label: "edge-agent.chat", attributes: .concurrent)

    func post(
        url: String, token: String, body: [UInt8], timeout: Duration
    ) async throws(BotChatError) -> BotChatAnswer {
        try await exchange("POST", url, token, body, timeout)
    }

    func get(url: String, token: String, timeout: Duration) async throws(BotChatError) -> BotChatAnswer {
        try await exchange("GET", url, token, nil, timeout)
    }

    private func exchange(
        _ method: String, _ url: String, _ token: String, _ body: [UInt8]?, _ timeout: Duration
    ) async throws(BotChatError) -> BotChatAnswer {
        guard let target = Target(url) else { throw .notLoopback(url) }
        var request = "\(method) \(target.path) HTTP/1.1\r\nHost: \(target.authority)\r\nConnection: close\r\n"
        request += "Authorization: Bearer \(token)\r\n"
        if let body { request += "Content-Type: application/json\r\nContent-Length: \(body.count)\r\n" }
        let bytes = Array((request + "\r\n").utf8) + (body ?? [])
        let result: Result<BotChatAnswer, BotChatError> = await withCheckedContinuation { continuation in
            queue.async { continuation.resume(returning: Self.perform(target, bytes, timeout)) }
        }
        return try result.get()
    }

    private static func perform(
        _ target: Target, _ request: [UInt8], _ timeout: Duration
    ) -> Result<BotChatAnswer, BotChatError> {
        let deadline = ContinuousClock.now + timeout
        let socket = Glibc.socket(
            target.family,
            Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue) | Int32(SOCK_NONBLOCK.rawValue), 0)
        guard socket >= 0 else { return .failure(.notConnected(String(errno: errno))) }
        defer { close(socket) }
        if target.connect(socket) != 0 {
            guard errno == EINPROGRESS, wait(socket, POLLOUT, deadline) else {
                return .failure(.notConnected(String(errno: errno)))
            }
            var code: Int32 = 0
            var length = socklen_t(MemoryLayout<Int32>.size)
            getsockopt(socket, SOL_SOCKET, SO_ERROR, &code, &length)
            guard code == 0 else { return .failure(.notConnected(String(errno: code))) }
        }
        var sent = 0
        while sent < request.count {
            let count = request.withUnsafeBytes {
                send(socket, $0.baseAddress.map { $0 + sent }, $0.count - sent, Int32(MSG_NOSIGNAL))
            }
            if count > 0 {
                sent += count
            } else if errno == EAGAIN {
                guard wait(socket, POLLOUT, deadline) else { return .failure(.noAnswer("no answer in time")) }
            } else if errno != EINTR {
                // The bot may have answered without reading everything (413); that answer is worth having.
                break
            }
        }
        var answer: [UInt8] = []
        var block = [UInt8](repeating: 0, count: 16 << 10)
        while answer.count < maximumAnswerBytes {
            let count = recv(socket, &block, block.count, 0)
            if count > 0 {
                answer += block[..<count]
                if let complete = parse(answer, isEnded: false) { return .success(complete) }
            } else if count == 0 {
                break
            } else if errno == EAGAIN {
                guard wait(socket, POLLIN, deadline) else { return .failure(.noAnswer("no answer in time")) }
            } else if errno != EINTR {
                if answer.isEmpty { return .failure(.noAnswer(String(errno: errno))) }
                break
            }
        }
        return parse(answer, isEnded: true).map { .success($0) } ?? .failure(.noAnswer("the answer is no HTTP"))
    }

    private static func wait(_ socket: Int32, _ events: Int32, _ deadline: ContinuousClock.Instant) -> Bool {
        while true {
            let left = ContinuousClock.now.duration(to: deadline)
            guard left > .zero else { return false }
            let milliseconds = left.components.seconds * 1_000 + left.components.attoseconds / 1_000_000_000_000_000 + 1
            var entry = pollfd(fd: socket, events: Int16(events), revents: 0)
            let ready = poll(&entry, 1, Int32(clamping: milliseconds))
            if ready > 0 { return true }
            if ready < 0, errno != EINTR { return false }
        }
    }

    /// The answer once it is complete: by its length where it tells one, else at the end of the connection.
    private static func parse(_ bytes: [UInt8], isEnded: Bool) -> BotChatAnswer? {
        let text = Array("\r\n\r\n".utf8)
        guard bytes.count >= 16,
            let end = (0...(bytes.count - 4)).first(where: { bytes[$0..<($0 + 4)].elementsEqual(text) })
        else { return nil }
        let lines = String(decoding: bytes[..<end], as: UTF8.self).split(separator: "\r\n")
        guard let first = lines.first, first.hasPrefix("HTTP/1."), let status = Int(first.dropFirst(9).prefix(3)) else {
            return nil
        }
        let body = Array(bytes[(end + 4)...])
        let length = lines.dropFirst().lazy.compactMap { line -> Int? in
            guard let colon = line.firstIndex(of: ":"), line[..<colon].lowercased() == "content-length" else {
                return nil
            }
            return Int(line[line.index(after: colon)...].drop { $0 == " " })
        }.first
        if let length, length >= 0, body.count >= length {
            return BotChatAnswer(status: status, body: Array(body.prefix(length)))
        }
        return isEnded ? BotChatAnswer(status: status, body: body) : nil
    }

    /// Where a request goes: always this machine.
    private struct Target {
        let authority: String
        let path: String
        let port: UInt16
        let isVersion6: Bool

        var family: Int32 { isVersion6 ? AF_INET6 : AF_INET }

        init?(_ url: String) {
            guard url.hasPrefix("http://"), !url.utf8.contains(where: { $0 <= 0x20 || $0 == 0x7F }) else { return nil }
            let rest = url.dropFirst(7)
            let slash = rest.firstIndex(of: "/") ?? rest.endIndex
            let authority = String(rest[..<slash])
            path = slash == rest.endIndex ? "/" : String(rest[slash...])
            let colon = authority.lastIndex(of: ":").flatMap { authority[$0...].contains("]") ? nil : $0 }
            let host = String(authority[..<(colon ?? authority.endIndex)])
            guard ["127.0.0.1", "localhost", "[::1]"].contains(host) else { return nil }
            if let colon {
                guard let port = UInt16(authority[authority.index(after: colon)...]), port > 0 else { return nil }
                self.port = port
            } else {
                port = 80
            }
            self.authority = authority
            isVersion6 = host == "[::1]"
        }

        func connect(_ socket: Int32) -> Int32 {
            if isVersion6 {
                var address = sockaddr_in6()
                address.sin6_family = sa_family_t(AF_INET6)
                address.sin6_port = port.bigEndian
                address.sin6_addr = in6addr_loopback
                return withUnsafePointer(to: &address) {
                    $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                        Glibc.connect(socket, $0, socklen_t(MemoryLayout<sockaddr_in6>.size))
                    }
                }
            }
            var address = sockaddr_in()
            address.sin_family = sa_family_t(AF_INET)
            address.sin_port = port.bigEndian
            address.sin_addr.s_addr = UInt32(0x7F00_0001).bigEndian
            return withUnsafePointer(to: &address) {
                $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                    Glibc.connect(socket, $0, socklen_t(MemoryLayout<sockaddr_in>.size))
                }
            }
        }
    }
}
