import Glibc

/// One end of a connection that exists only in memory; it behaves like a socket with small buffers.
public actor InMemoryStream: ByteStream {
    /// One direction. `@unchecked Sendable`: touched only by the two actors pinned to the same loop.
    private final class Pipe: @unchecked Sendable {
        let readable: ReadinessGate
        let writable: ReadinessGate
        let capacityBytes: Int
        var buffer: [UInt8] = []
        var isEnded = false

        init(loop: EpollLoop, capacityBytes: Int) {
            readable = ReadinessGate(loop: loop)
            writable = ReadinessGate(loop: loop, isOpen: true)
            self.capacityBytes = capacityBytes
        }

        func end() {
            isEnded = true
            readable.open()
            writable.open()
        }
    }

    private let loop: EpollLoop
    private let incoming: Pipe
    private let outgoing: Pipe
    private var isClosed = false

    /// The loop's thread.
    public nonisolated var unownedExecutor: UnownedSerialExecutor { loop.asUnownedSerialExecutor() }

    private init(loop: EpollLoop, incoming: Pipe, outgoing: Pipe) {
        self.loop = loop
        self.incoming = incoming
        self.outgoing = outgoing
    }

    /// Two connected ends; each direction holds at most `capacityBytes`, then writers wait.
    public static func pair(loop: EpollLoop, capacityBytes: Int = 64 * 1024) -> (InMemoryStream, InMemoryStream) {
        let there = Pipe(loop: loop, capacityBytes: capacityBytes)
        let back = Pipe(loop: loop, capacityBytes: capacityBytes)
        return (
            InMemoryStream(loop: loop, incoming: back, outgoing: there),
            InMemoryStream(loop: loop, incoming: there, outgoing: back)
        )
    }

    /// See `ByteStream`.
    public func read(maxBytes: Int, deadline: ContinuousClock.Instant?) async throws -> [UInt8] {
        while true {
            guard !isClosed else { throw StreamError.closed }
            if !incoming.buffer.isEmpty {
                let bytes = Array(incoming.buffer.prefix(maxBytes))
                incoming.buffer.removeFirst(bytes.count)
                incoming.writable.open()
                return bytes
            }
            guard !incoming.isEnded else { return [] }
            incoming.readable.shut()
            try await incoming.readable.wait(deadline: deadline)
        }
    }

    /// See `ByteStream`.
    public func write(_ bytes: ArraySlice<UInt8>, deadline: ContinuousClock.Instant?) async throws {
        var rest = bytes
        while !rest.isEmpty {
            guard !isClosed else { throw StreamError.closed }
            guard !outgoing.isEnded else { throw StreamError.system(call: "write", number: EPIPE) }
            let room = outgoing.capacityBytes - outgoing.buffer.count
            if room > 0 {
                outgoing.buffer.append(contentsOf: rest.prefix(room))
                rest = rest.dropFirst(room)
                outgoing.readable.open()
            } else {
                outgoing.writable.shut()
                try await outgoing.writable.wait(deadline: deadline)
            }
        }
    }

    /// See `ByteStream`.
    public func close() {
        isClosed = true
        incoming.end()
        outgoing.end()
    }
}
