/// Who reads from and writes to a socket.
protocol SocketOwner: AnyObject {
    func received(_ bytes: [UInt8])
    /// The other side has closed, or the connection was reset.
    func receivedEOF()
    /// Everything written so far was taken by the network.
    func drained()
}

/// One end of a simulated TCP connection: bytes in order, cut anywhere, in windows, with delay; until it breaks.
///
/// What a sender may have on its way is limited (`windowBytes`, standing for both kernels' buffers), and comes free when
/// the receiver has read it and its word of that has arrived, so a receiver that stops reading stops its sender.
final class SimulatedSocket {
    /// How one direction behaves.
    struct Line {
        var latency: ClosedRange<Microseconds> = 200...500
        /// Bytes arrive in pieces of a random size up to this.
        var maxSegmentBytes = 1460
        var windowBytes = 48 << 10
        /// After so many bytes this line carries nothing any more.
        var cutAfterBytes: Int?
        /// What is sent before this moment arrives after it.
        var heldUntil: Microseconds = 0
        /// Nothing that is under way arrives, and nobody is told.
        var isDead = false
    }

    let label: String
    private let world: World
    private weak var peer: SimulatedSocket?
    weak var owner: (any SocketOwner)?
    /// The line to the other side.
    var line: Line
    /// Told once when `cutAfterBytes` is reached.
    var onCut: (() -> Void)?

    private var unsent: [UInt8] = []
    private var unsentOffset = 0
    private var underWayBytes = 0
    private var lineBytes = 0
    private var lastArrival: Microseconds = 0
    private var isFinWanted = false
    /// This side neither reads nor writes any more.
    private(set) var isClosed = false

    private var inbox: [UInt8] = []
    private var hasEOF = false
    private var isEOFTold = false
    private(set) var isReading = true

    private init(_ world: World, _ label: String, _ line: Line) {
        self.world = world
        self.label = label
        self.line = line
    }

    static func pair(
        _ world: World,
        _ label: String,
        agentLine: Line,
        hubLine: Line
    ) -> (agent: SimulatedSocket, hub: SimulatedSocket) {
        let agent = SimulatedSocket(world, "\(label) agent", agentLine)
        let hub = SimulatedSocket(world, "\(label) hub", hubLine)
        agent.peer = hub
        hub.peer = agent
        return (agent, hub)
    }

    /// Bytes written that do not fit into the window yet.
    var unsentBytes: Int { unsent.count - unsentOffset }
    /// Bytes held here that the owner has not read.
    var unreadBytes: Int { inbox.count }

    // MARK: Writing

    func write(_ bytes: [UInt8]) {
        guard !isClosed, !isFinWanted else { return }
        unsent.append(contentsOf: bytes)
        flush()
    }

    /// Closes once everything written is out.
    func close() {
        guard !isClosed, !isFinWanted else { return }
        isFinWanted = true
        isReading = false
        owner = nil
        flush()
    }

    /// Closes at once. `isTold` is false where the machine itself went away, so that the other side hears nothing.
    func abort(isTold: Bool) {
        guard !isClosed else { return }
        isClosed = true
        owner = nil
        unsent = []
        unsentOffset = 0
        inbox = []
        if isTold { carry { $0.arriveEOF() } }
    }

    private func flush() {
        while unsentBytes > 0, underWayBytes < line.windowBytes, !isClosed {
            let limit = min(unsentBytes, line.windowBytes - underWayBytes, line.maxSegmentBytes)
            let count = limit > 1 && world.chance(30) ? world.pick(1...limit) : limit
            let segment = Array(unsent[unsentOffset..<unsentOffset + count])
            unsentOffset += count
            if unsentOffset == unsent.count {
                unsent.removeAll(keepingCapacity: false)
                unsentOffset = 0
            }
            underWayBytes += count
            transmit(segment)
        }
        if isFinWanted, unsentBytes == 0, !isClosed {
            isClosed = true
            carry { $0.arriveEOF() }
        }
    }

    private func transmit(_ segment: [UInt8]) {
        var segment = segment
        if let cut = line.cutAfterBytes {
            segment = Array(segment.prefix(max(0, cut - lineBytes)))
            if lineBytes + segment.count >= cut {
                line.cutAfterBytes = nil
                // What is before the cut arrives; what is after it does not.
                if !segment.isEmpty { carry { $0.arrive(segment) } }
                lineBytes = cut
                world.note("\(label) line cut after \(cut) bytes", 1, cut)
                world.at(lastArrival) { [weak self] in
                    self?.line.isDead = true
                    self?.onCut?()
                }
                return
            }
        }
        lineBytes += segment.count
        carry { $0.arrive(segment) }
    }

    /// Lets something happen at the other end when the line has carried it there.
    private func carry(_ action: @escaping (SimulatedSocket) -> Void) {
        guard let peer else { return }
        let arrival = max(lastArrival, line.heldUntil, world.now + world.pick(line.latency))
        lastArrival = arrival
        world.at(arrival) { [weak self] in
            // Whoever sent it may be gone by now; a line that has died has taken it along.
            if let self, self.line.isDead { return }
            action(peer)
        }
    }

    private func taken(_ count: Int) {
        underWayBytes -= count
        let hadUnsent = unsentBytes > 0
        flush()
        if hadUnsent, unsentBytes == 0 { owner?.drained() }
    }

    // MARK: Reading

    func setReading(_ reading: Bool) {
        guard isReading != reading, !isClosed, !isFinWanted else { return }
        isReading = reading
        if reading { deliver() }
    }

    private func arrive(_ segment: [UInt8]) {
        guard !isClosed, !isFinWanted else {
            // A kernel that knows no such connection answers with a reset.
            carry { $0.arriveReset() }
            return
        }
        inbox.append(contentsOf: segment)
        deliver()
    }

    private func arriveEOF() {
        hasEOF = true
        deliver()
    }

    private func arriveReset() {
        guard !isClosed else { return }
        isClosed = true
        inbox = []
        unsent = []
        unsentOffset = 0
        hasEOF = true
        tellEOF()
    }

    private func deliver() {
        guard isReading, !isClosed else { return }
        if !inbox.isEmpty {
            let bytes = inbox
            inbox = []
            carry { $0.taken(bytes.count) }
            owner?.received(bytes)
        }
        if hasEOF, inbox.isEmpty { tellEOF() }
    }

    private func tellEOF() {
        guard !isEOFTold else { return }
        isEOFTold = true
        owner?.receivedEOF()
    }
}
