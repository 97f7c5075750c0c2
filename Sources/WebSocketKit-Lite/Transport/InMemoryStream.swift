import Glibc

/// One end of a connection that exists only in memory; it behaves like a socket with small buffers.
///
/// `@unchecked Sendable`: every member is for the loop's thread only.
final class InMemoryStream: ByteStream, @unchecked Sendable {
    /// One direction. The end that reads it is told when something arrives, the end that writes it when there is room.
    private final class Pipe {
        let capacityBytes: Int
        var buffer: [UInt8] = []
        var isEnded = false

        init(capacityBytes: Int) {
            self.capacityBytes = capacityBytes
        }
    }

    let loop: EpollLoop
    let readable: ReadinessGate
    let writable: ReadinessGate
    unowned var observer: (any StreamObserver)?

    private let incoming: Pipe
    private let outgoing: Pipe
    private var unsent: [UInt8] = []
    private weak var peer: InMemoryStream?
    private var isClosed = false

    private init(loop: EpollLoop, incoming: Pipe, outgoing: Pipe) {
        self.loop = loop
        self.incoming = incoming
        self.outgoing = outgoing
        readable = ReadinessGate(loop: loop)
        writable = ReadinessGate(loop: loop, isOpen: true)
    }

    /// Two connected ends; each direction holds at most `capacityBytes`, then writers wait.
    static func pair(loop: EpollLoop, capacityBytes: Int = 64 * 1024) -> (InMemoryStream, InMemoryStream) {
        let there = Pipe(capacityBytes: capacityBytes)
        let back = Pipe(capacityBytes: capacityBytes)
        let here = InMemoryStream(loop: loop, incoming: back, outgoing: there)
        let peer = InMemoryStream(loop: loop, incoming: there, outgoing: back)
        here.peer = peer
        peer.peer = here
        return (here, peer)
    }

    func tryRead(into buffer: UnsafeMutableRawBufferPointer) throws(StreamError) -> Int? {
        guard !isClosed else { throw .closed }
        guard !incoming.buffer.isEmpty else {
            if incoming.isEnded { return 0 }
            readable.shut()
            return nil
        }
        let count = min(buffer.count, incoming.buffer.count)
        buffer.copyBytes(from: incoming.buffer[..<count])
        incoming.buffer.removeFirst(count)
        wakePeer()
        return count
    }

    var mayHaveMore: Bool { !incoming.buffer.isEmpty || incoming.isEnded }

    func tryWrite(_ bytes: UnsafeRawBufferPointer) throws(StreamError) {
        unsent.append(contentsOf: bytes)
        _ = try tryFlush()
    }

    func tryFlush() throws(StreamError) -> Bool {
        guard !isClosed else { throw .closed }
        guard !unsent.isEmpty else { return true }
        guard !outgoing.isEnded else { throw .system(call: "write", number: EPIPE) }
        let count = min(unsent.count, outgoing.capacityBytes - outgoing.buffer.count)
        outgoing.buffer.append(contentsOf: unsent[..<count])
        unsent.removeFirst(count)
        if count > 0 { wakePeer() }
        if !unsent.isEmpty { writable.shut() }
        return unsent.isEmpty
    }

    var unsentBytes: Int { unsent.count }

    func closeNow() {
        guard !isClosed else { return }
        isClosed = true
        incoming.isEnded = true
        outgoing.isEnded = true
        readable.fail(StreamError.closed)
        writable.fail(StreamError.closed)
        wakePeer()
    }

    /// Later, as a socket's readiness comes: never within the call that caused it.
    private func wakePeer() {
        guard let peer else { return }
        loop.execute { peer.becameReady() }
    }

    private func becameReady() {
        if !incoming.buffer.isEmpty || incoming.isEnded {
            readable.open()
            observer?.streamBecameReadable()
        }
        if outgoing.buffer.count < outgoing.capacityBytes || outgoing.isEnded {
            writable.open()
            observer?.streamBecameWritable()
        }
    }
}
