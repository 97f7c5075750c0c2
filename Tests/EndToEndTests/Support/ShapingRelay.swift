import Foundation
import Glibc
import Synchronization

/// A TCP relay on loopback that is as slow as a real link: in each direction a bottleneck with a bounded queue before
/// it, then a line with a delay.
///
/// When the queue is full nothing is read any more, so that TCP's own flow control reaches the sender, as behind a
/// modem. One thread carries all connections; it looks at the time once a millisecond and reckons with when each byte
/// was due, so that rate and delay hold on average however late it wakes.
final class ShapingRelay: Sendable {
    struct Shape: Sendable {
        /// As fast as this machine.
        static let none = Shape(bytesPerSecond: 10e9, delay: .zero, queueBytes: 8 << 20)

        /// Of each direction.
        var bytesPerSecond: Double
        /// From one end to the other.
        var delay: Duration
        /// What may wait before the bottleneck; what is on the line already does not count.
        var queueBytes: Int

        var roundTrip: Duration { delay * 2 }
    }

    enum Direction: Int, Sendable {
        /// From who connects to who listens.
        case up
        case down
    }

    let port: Int
    let shape: Shape
    private let state = Mutex((isStopping: false, isCut: false, carried: [0, 0]))

    /// Relays from now on.
    ///
    /// - Parameter target: port on 127.0.0.1.
    init(to target: Int, _ shape: Shape) throws {
        self.shape = shape
        let listener = try Descriptor.listening()
        port = try listener.localPort()
        let thread = Thread { [weak self] in Carrier(listener: listener, target: target, shape: shape).run { self } }
        thread.start()
    }

    deinit {
        stop()
    }

    /// Ends every connection, within a moment.
    func stop() {
        state.withLock { $0.isStopping = true }
    }

    /// Ends every connection and each that comes, until it is mended.
    func cut() {
        state.withLock { $0.isCut = true }
    }

    func mend() {
        state.withLock { $0.isCut = false }
    }

    fileprivate var isCut: Bool { state.withLock(\.isCut) }

    /// Bytes that left the line so far, of all connections.
    func carriedBytes(_ direction: Direction) -> Int {
        state.withLock { $0.carried[direction.rawValue] }
    }

    fileprivate var isStopping: Bool { state.withLock(\.isStopping) }

    fileprivate func count(_ bytes: Int, _ direction: Direction) {
        state.withLock { $0.carried[direction.rawValue] += bytes }
    }
}

/// What the relay's thread does.
private struct Carrier {
    let listener: Descriptor
    let target: Int
    let shape: ShapingRelay.Shape
    private var lanes: [Lane] = []

    init(listener: Descriptor, target: Int, shape: ShapingRelay.Shape) {
        (self.listener, self.target, self.shape) = (listener, target, shape)
    }

    func run(_ relay: () -> ShapingRelay?) {
        var carrier = self
        while let relay = relay(), !relay.isStopping {
            carrier.turn(relay)
        }
    }

    private mutating func turn(_ relay: ShapingRelay) {
        if relay.isCut { lanes.removeAll() }
        var polled = [pollfd(fd: listener.number, events: Int16(POLLIN), revents: 0)]
        for lane in lanes where lane.wantsToRead {
            polled.append(pollfd(fd: lane.source.number, events: Int16(POLLIN), revents: 0))
        }
        // Idle it only looks whether it is to stop.
        _ = poll(&polled, nfds_t(polled.count), lanes.contains { $0.isCarrying } ? 1 : 50)
        if relay.isCut {
            // Taken and let go of, as behind a modem that lost its line.
            if polled[0].revents != 0 { _ = listener.accept() }
            return lanes.removeAll()
        }
        if polled[0].revents != 0 { accept() }
        let now = ContinuousClock.now
        for lane in lanes {
            relay.count(lane.carry(now), lane.direction)
        }
        lanes.removeAll { $0.isOver }
    }

    private mutating func accept() {
        guard let near = listener.accept(), let far = Descriptor.connecting(to: target) else { return }
        let up = Lane(from: near, to: far, .up, shape)
        let down = Lane(from: far, to: near, .down, shape)
        up.opposite = down
        down.opposite = up
        lanes += [up, down]
    }
}

/// One direction of one connection.
private final class Lane {
    /// As much as an Ethernet frame carries.
    private static let packetBytes = 1460

    let source: Descriptor
    let target: Descriptor
    let direction: ShapingRelay.Direction
    weak var opposite: Lane?
    private let shape: ShapingRelay.Shape
    private var queue: ArraySlice<UInt8> = []
    private var line: [(due: ContinuousClock.Instant, bytes: ArraySlice<UInt8>)] = []
    /// When the bottleneck is done with what it was given.
    private var freeAt = ContinuousClock.now
    private var hasEnded = false
    private(set) var isOver = false

    init(
        from source: Descriptor,
        to target: Descriptor,
        _ direction: ShapingRelay.Direction,
        _ shape: ShapingRelay.Shape
    ) {
        (self.source, self.target, self.direction, self.shape) = (source, target, direction, shape)
    }

    var wantsToRead: Bool { !hasEnded && !isOver && queue.count < shape.queueBytes }
    var isCarrying: Bool { !queue.isEmpty || !line.isEmpty }

    /// Does all that is due. Returns how many bytes left the line.
    func carry(_ now: ContinuousClock.Instant) -> Int {
        take(now)
        var carried = 0
        while let head = line.first, head.due <= now {
            let count = target.write(head.bytes)
            guard count >= 0 else {
                end()
                return carried
            }
            carried += count
            guard count == head.bytes.count else {
                // Who is to take it does not; then nothing moves on the line, either.
                line[0].bytes = head.bytes.dropFirst(count)
                return carried
            }
            line.removeFirst()
        }
        // Read again at once, into the room that transmission made, as a router would have done meanwhile.
        transmit(now)
        take(now)
        if hasEnded, !isCarrying, !isOver {
            target.shutDown()
            isOver = true
        }
        return carried
    }

    private func take(_ now: ContinuousClock.Instant) {
        guard wantsToRead else { return }
        guard let bytes = source.read(upTo: shape.queueBytes - queue.count) else { return }
        if bytes.isEmpty { hasEnded = true }
        if queue.isEmpty { freeAt = max(freeAt, now) }
        queue += bytes
    }

    private func transmit(_ now: ContinuousClock.Instant) {
        while !queue.isEmpty, freeAt <= now {
            let packet = queue.prefix(Self.packetBytes)
            queue = queue.dropFirst(packet.count)
            freeAt += .seconds(Double(packet.count) / shape.bytesPerSecond)
            line.append((freeAt + shape.delay, packet))
        }
        if queue.isEmpty { queue = [] }
    }

    private func end() {
        (queue, line, hasEnded, isOver) = ([], [], true, true)
        opposite?.breakOff()
    }

    private func breakOff() {
        (queue, line, hasEnded, isOver) = ([], [], true, true)
    }
}

/// A socket that is closed with its last owner. Its buffers are small: what the system holds is no part of the shape.
private final class Descriptor: Sendable {
    private static let bufferBytes: Int32 = 4096

    let number: Int32

    private init(_ number: Int32) {
        self.number = number
        var size = Self.bufferBytes
        var yes: Int32 = 1
        setsockopt(number, SOL_SOCKET, SO_RCVBUF, &size, socklen_t(MemoryLayout<Int32>.size))
        setsockopt(number, SOL_SOCKET, SO_SNDBUF, &size, socklen_t(MemoryLayout<Int32>.size))
        setsockopt(number, Int32(IPPROTO_TCP), TCP_NODELAY, &yes, socklen_t(MemoryLayout<Int32>.size))
    }

    deinit {
        close(number)
    }

    static func listening() throws -> Descriptor {
        let descriptor = Descriptor(socket(AF_INET, kind, 0))
        let bound = withLoopback(0) { bind(descriptor.number, $0, $1) }
        guard bound == 0, listen(descriptor.number, 16) == 0 else {
            throw Failure("the relay cannot listen: \(String(cString: strerror(errno)))")
        }
        return descriptor
    }

    /// Nil where nobody listens.
    static func connecting(to port: Int) -> Descriptor? {
        // On loopback a connection is there at once or refused; only after that it must not block.
        let descriptor = Descriptor(socket(AF_INET, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0))
        guard withLoopback(port, { connect(descriptor.number, $0, $1) }) == 0 else { return nil }
        guard fcntl(descriptor.number, F_SETFL, O_NONBLOCK) == 0 else { return nil }
        return descriptor
    }

    func accept() -> Descriptor? {
        let accepted = Glibc.accept(number, nil, nil)
        guard accepted >= 0 else { return nil }
        _ = fcntl(accepted, F_SETFD, FD_CLOEXEC)
        _ = fcntl(accepted, F_SETFL, O_NONBLOCK)
        return Descriptor(accepted)
    }

    func localPort() throws -> Int {
        var address = sockaddr_in()
        var size = socklen_t(MemoryLayout<sockaddr_in>.size)
        let result = withUnsafeMutableBytes(of: &address) { bytes in
            bytes.withMemoryRebound(to: sockaddr.self) { getsockname(number, $0.baseAddress, &size) }
        }
        guard result == 0 else { throw Failure("the relay's port is unknown: errno \(errno)") }
        return Int(UInt16(bigEndian: address.sin_port))
    }

    /// Nil where there is nothing yet; empty at the end, in whatever way it came.
    func read(upTo limit: Int) -> [UInt8]? {
        var failed: Int32 = 0
        let bytes = [UInt8](unsafeUninitializedCapacity: limit) { buffer, count in
            let result = Glibc.read(number, buffer.baseAddress, limit)
            if result < 0 { failed = errno }
            count = max(0, result)
        }
        return failed == EAGAIN || failed == EINTR ? nil : bytes
    }

    /// How many were taken; negative where the other end is gone.
    func write(_ bytes: ArraySlice<UInt8>) -> Int {
        let result = bytes.withUnsafeBytes { send(number, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL)) }
        guard result < 0 else { return result }
        return errno == EAGAIN || errno == EINTR ? 0 : -1
    }

    func shutDown() {
        shutdown(number, Int32(SHUT_WR))
    }

    private static var kind: Int32 {
        Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue) | Int32(SOCK_NONBLOCK.rawValue)
    }

    private static func withLoopback(_ port: Int, _ body: (UnsafePointer<sockaddr>, socklen_t) -> Int32) -> Int32 {
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_port = UInt16(truncatingIfNeeded: port).bigEndian
        address.sin_addr.s_addr = UInt32(0x7f00_0001).bigEndian
        return withUnsafePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                body($0, socklen_t(MemoryLayout<sockaddr_in>.size))
            }
        }
    }
}
