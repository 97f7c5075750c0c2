import CLinux
import Glibc
import WebSocketKitLite

/// One connection of the kit's client, measured from outside: every message is one call of the public API.
struct LoadClient {
    enum Mode: String {
        /// Round trips, one after the other.
        case rtt
        /// As many messages out as the server takes.
        case send
        /// As many messages in as the server has.
        case recv
    }

    private let endpoint: Endpoint
    private let mode: Mode
    private let size: Int
    private let count: Int
    private let authorityFile: String?
    private let offersDeflate: Bool

    init(_ arguments: inout Arguments) throws {
        endpoint = try Endpoint(arguments.require("--url"))
        let name = try arguments.require("--mode")
        guard let mode = Mode(rawValue: name) else { throw UsageError("--mode is rtt, send or recv") }
        self.mode = mode
        size = try arguments.requireNumber("--size", in: 0...(16 << 20))
        count = try arguments.requireNumber("--count", in: 1...1_000_000_000)
        authorityFile = try arguments.take("--ca")
        offersDeflate = arguments.takeFlag("--deflate")
    }

    /// - Returns: The result as one line of JSON.
    func run() async throws -> String {
        // As any program that moves much would: memory of a message that is gone serves the next one, instead of going
        // back to the system in between.
        mallopt(M_TRIM_THRESHOLD, 4 << 20)
        let loop = try EpollLoop.start()
        var dialing = DialConfiguration()
        if let authorityFile {
            dialing.tls.systemRoots = false
            dialing.tls.caFile = authorityFile
        }
        var configuration = ClientConfiguration()
        configuration.deflate = offersDeflate ? .init() : nil
        let connection = try await WebSocketClient.connect(
            to: endpoint,
            configuration: configuration,
            dialer: Dialer(loop: loop, configuration: dialing)
        )
        let load = Load(connection: connection, size: size, count: count)
        // On the connection's own thread, where the kit says that messages come and go without a hop.
        let result = try await withTaskExecutorPreference(loop.taskExecutor) {
            switch mode {
            case .rtt: try await load.roundTrips()
            case .send: try await load.send()
            case .recv: try await load.receive()
            }
        }
        await connection.close()
        return result
    }
}

/// The measured loops.
private struct Load {
    let connection: WebSocketConnection
    let size: Int
    let count: Int

    struct Unexpected: Error, CustomStringConvertible {
        let description: String
    }

    func roundTrips() async throws -> String {
        let message = WebSocketMessage.binary(BenchPayload.bytes(size))
        for _ in 0..<(count / 10) { try await roundTrip(message) }
        var samples: [UInt64] = []
        samples.reserveCapacity(count)
        for _ in 0..<count {
            let start = now()
            try await roundTrip(message)
            samples.append(now() - start)
        }
        samples.sort()
        let mean = Double(samples.reduce(0, +)) / Double(count) / 1000
        return JSONLine(mode: .rtt, size: size, count: count)
            .adding("min_us", microseconds(samples, 0)).adding("p50_us", microseconds(samples, 0.5))
            .adding("p90_us", microseconds(samples, 0.9)).adding("p99_us", microseconds(samples, 0.99))
            .adding("p999_us", microseconds(samples, 0.999)).adding("mean_us", mean).text
    }

    private func roundTrip(_ message: WebSocketMessage) async throws {
        try await connection.send(message)
        guard case .binary(let answer)? = try await connection.receive(), answer.count == size else {
            throw Unexpected(description: "the answer is not what was sent")
        }
    }

    func send() async throws -> String {
        let message = WebSocketMessage.binary(BenchPayload.bytes(size))
        let start = now()
        for _ in 0..<count { try await connection.send(message) }
        try await connection.send(.text("?"))
        guard case .text(let answer)? = try await connection.receive() else {
            throw Unexpected(description: "the server did not answer with its counts")
        }
        let elapsed = now() - start
        guard answer == "\(count) \(count * size)" else {
            throw Unexpected(description: "sent \(count) messages of \(size) bytes, the server counted \(answer)")
        }
        return throughput(.send, elapsed)
    }

    func receive() async throws -> String {
        let start = now()
        try await connection.send(.text("\(size) \(count)"))
        for _ in 0..<count {
            guard case .binary(let message)? = try await connection.receive(), message.count == size else {
                throw Unexpected(description: "a message is not what was asked for")
            }
        }
        return throughput(.recv, now() - start)
    }

    private func throughput(_ mode: LoadClient.Mode, _ nanoseconds: UInt64) -> String {
        let seconds = Double(nanoseconds) / 1e9
        return JSONLine(mode: mode, size: size, count: count).adding("secs", seconds)
            .adding("mb_s", Double(count * size) / 1e6 / seconds).adding("msg_s", Double(count) / seconds).text
    }

    /// The value below which the given share of all samples lies.
    private func microseconds(_ sorted: [UInt64], _ share: Double) -> Double {
        Double(sorted[min(sorted.count - 1, Int(Double(sorted.count) * share))]) / 1000
    }

    private func now() -> UInt64 {
        var time = timespec()
        clock_gettime(CLOCK_MONOTONIC, &time)
        return UInt64(time.tv_sec) * 1_000_000_000 + UInt64(time.tv_nsec)
    }
}

/// What every message of the benchmark holds.
enum BenchPayload {
    /// Byte i is i·31 mod 256.
    static func bytes(_ count: Int) -> [UInt8] {
        (0..<count).map { UInt8(truncatingIfNeeded: $0 &* 31) }
    }
}

/// A result as others read it.
private struct JSONLine {
    private var fields: String

    init(mode: LoadClient.Mode, size: Int, count: Int) {
        fields = "\"mode\":\"\(mode.rawValue)\",\"size\":\(size),\"count\":\(count)"
    }

    /// Adds a number, to three decimals.
    func adding(_ name: String, _ value: Double) -> JSONLine {
        var copy = self
        copy.fields += ",\"\(name)\":\((value * 1000).rounded() / 1000)"
        return copy
    }

    var text: String { "{\(fields)}" }
}
