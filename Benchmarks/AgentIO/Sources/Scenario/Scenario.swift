import Glibc

/// One TLS connection to the peer, as either side of the comparison offers it.
public protocol ByteConnection {
    /// The form in which this side likes to be handed bytes.
    associatedtype Block
    /// Bytes in that form; made once, sent often.
    func block(_ bytes: [UInt8]) -> Block
    /// Returns when the connection takes more.
    nonisolated(nonsending) mutating func send(_ block: Block) async throws
    /// The number of bytes that came; 0 at the end of the stream.
    nonisolated(nonsending) mutating func receive() async throws -> Int
}

/// What a program was asked on its command line: `idle|echo|write|read PORT CA COUNT`.
public struct Scenario: Sendable {
    /// `idle`, `echo`, `write` or `read`.
    public var name: String
    /// Of the peer, on loopback.
    public var port: Int
    /// PEM file with the authority that signed the peer's certificate.
    public var authorityFile: String
    /// Messages or blocks.
    public var count: Int

    /// Reads the command line; nil where it makes no sense.
    public init?(_ arguments: [String]) {
        guard arguments.count == 5, let port = Int(arguments[2]), let count = Int(arguments[4]) else { return nil }
        (name, self.port, authorityFile, self.count) = (arguments[1], port, arguments[3], count)
    }

    /// The work could not be done.
    public struct Failed: Error {
        /// One sentence.
        public var what: String

        /// Says what went wrong.
        public init(what: String) { self.what = what }
    }

    /// Does the work over an established connection and prints one line of `key=value`.
    nonisolated(nonsending) public func run<C: ByteConnection>(_ connection: inout C) async throws {
        let block = connection.block(Self.frame([UInt8](repeating: 0, count: 64 * 1024)))
        switch name {
        case "idle", "echo":
            let rounds = name == "idle" ? 1 : count
            try await connection.send(connection.block(hello(mode: "E", count: rounds)))
            let cpu = Self.cpuSeconds()
            let small = connection.block(Self.frame([UInt8](repeating: 0, count: 128)))
            var each: [Double] = []
            each.reserveCapacity(rounds)
            for _ in 0..<rounds {
                let sent = Self.seconds()
                try await connection.send(small)
                try await receive(132, &connection)
                each.append((Self.seconds() - sent) * 1e6)
            }
            each.sort()
            let cpuEach = (Self.cpuSeconds() - cpu) * 1e6 / Double(rounds)
            report(
                "p50_us=\(Self.rounded(each[rounds / 2])) p99_us=\(Self.rounded(each[rounds * 99 / 100])) "
                    + "cpu_us=\(Self.rounded(cpuEach))"
            )
            if name == "idle" { _ = try await connection.receive() }
        case "write":
            try await connection.send(connection.block(hello(mode: "W", count: count)))
            let start = (Self.seconds(), Self.cpuSeconds())
            for _ in 0..<count { try await connection.send(block) }
            try await receive(12, &connection)
            report(rate(since: start))
        case "read":
            try await connection.send(connection.block(hello(mode: "R", count: count)))
            let start = (Self.seconds(), Self.cpuSeconds())
            try await receive(count * (64 * 1024 + 4), &connection)
            report(rate(since: start))
        default:
            throw Failed(what: "unknown scenario \(name)")
        }
    }

    nonisolated(nonsending) private func receive<C: ByteConnection>(_ bytes: Int, _ connection: inout C) async throws {
        var missing = bytes
        while missing > 0 {
            let came = try await connection.receive()
            guard came > 0 else { throw Failed(what: "the peer closed with \(missing) bytes to come") }
            missing -= came
        }
        guard missing == 0 else { throw Failed(what: "\(-missing) bytes too many") }
    }

    private func hello(mode: Character, count: Int) -> [UInt8] {
        let bigEndian = (0..<8).map { UInt8(truncatingIfNeeded: count >> (56 - 8 * $0)) }
        return Self.frame([mode.asciiValue ?? 0] + bigEndian)
    }

    private func rate(since start: (wall: Double, cpu: Double)) -> String {
        let gigabytes = Double(count * 64 * 1024) / 1e9
        let cpu = (Self.cpuSeconds() - start.cpu) * 1000 / gigabytes
        return "mb_per_s=\(Int(gigabytes * 1000 / (Self.seconds() - start.wall))) cpu_ms=\(Int(cpu))"
    }

    private func report(_ line: String) {
        print(line)
        fflush(nil)
    }

    private static func frame(_ payload: [UInt8]) -> [UInt8] {
        (0..<4).map { UInt8(truncatingIfNeeded: payload.count >> (24 - 8 * $0)) } + payload
    }

    private static func rounded(_ value: Double) -> Double { (value * 10).rounded() / 10 }

    /// Processor time of all threads; unlike the wall's, hardly touched by what else the machine does.
    private static func cpuSeconds() -> Double {
        var used = timespec()
        clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &used)
        return Double(used.tv_sec) + Double(used.tv_nsec) / 1e9
    }

    private static func seconds() -> Double {
        var now = timespec()
        clock_gettime(CLOCK_MONOTONIC, &now)
        return Double(now.tv_sec) + Double(now.tv_nsec) / 1e9
    }
}
