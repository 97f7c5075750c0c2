// What the agent's and the hub's session machine have in common. No I/O; the time is handed in.
//
//     agent:  greeting ──Welcome──► established ──┐
//     hub:    greeting ──Hello──► deciding ──accept──► established ──┐
//                                                                   ├──► closed
//     from every state: a broken rule, a time limit, close() ───────┘

import SwiftProtobuf

/// What a session machine wants its driver to do, in order.
public enum SessionAction<Event: Sendable & Equatable>: Sendable, Equatable {
    /// Tell the program.
    case deliver(Event)
    /// Tell the program that the peer opened a stream.
    case accept(stream: UInt32, header: WireStreamHeader)
    /// Wake whoever reads from or writes to the stream.
    case wake(stream: UInt32)
    /// Ask the program for the contents of a heartbeat and answer with `sendHeartbeat`.
    case fillHeartbeat
    /// Close the transport; the session is over.
    case close(SessionCloseCode, reason: String)
}

/// A session as seen from one side: a pure machine over a `MuxMachine`.
public protocol SessionMachine: Sendable {
    associatedtype Event: Sendable & Equatable

    /// Streams and their credit.
    var mux: MuxMachine { get set }

    /// Whether `Welcome` was exchanged and the session is not closed.
    var isEstablished: Bool { get }

    /// When `tick` must be called at the latest.
    var nextDeadline: ContinuousClock.Instant? { get }

    /// Begins the session; call it once, when the transport is open.
    mutating func start(now: SessionTime)

    /// Takes one WebSocket message.
    mutating func receive(_ message: [UInt8], now: SessionTime)

    /// Does what is due by `now`.
    mutating func tick(now: SessionTime)

    /// The next thing to do, or nil.
    mutating func nextAction() -> SessionAction<Event>?

    /// What was left out of the peer's messages since the last call.
    mutating func takeExcess() -> WireExcess

    /// Ends the session from this side.
    mutating func close(_ code: SessionCloseCode, reason: String)

    /// The next message to send, or nil. See `MuxMachine.nextTransmission`.
    mutating func nextTransmission() -> [UInt8]?
}

/// The kinds of stream and who opens them.
enum StreamKind {
    /// The sending order of a stream, or nil where its kind is unknown or is not opened by `opener`.
    static func priority(of header: WireStreamHeader, openedBy opener: MuxMachine.Role) -> StreamPriority? {
        switch (header.kind, opener) {
        case (.command, .hub): .commands
        case (.packets, .agent): .packets
        case (.logs(let request), .hub): isBackfill(request) ? .bulk : .interactiveLogs
        case (.workspace(let request), .hub): isTransfer(request) ? .bulk : .interactiveLogs
        case (.syncSource, .hub), (.syncTarget, .hub): .bulk
        default: nil
        }
    }

    /// The share that a stream is counted in; nil for commands and packets, which others leave room for.
    static func share(of header: WireStreamHeader) -> StreamShare? {
        switch header.kind {
        case .logs(let request): request.follow ? .followedLogs : .logPages
        case .workspace(let request): isTransfer(request) ? .files : .entries
        case .syncSource, .syncTarget: .transfers
        case .command, .packets, nil: nil
        }
    }

    /// Whether the stream moves much, and both ends compress what they send on it themselves where that is worth it.
    static func isTransfer(_ header: WireStreamHeader) -> Bool {
        switch header.kind {
        case .syncSource, .syncTarget: true
        case .command, .packets, .logs, .workspace, nil: false
        }
    }

    /// A read from an offset without following is the hub catching up; nobody is waiting for it.
    private static func isBackfill(_ request: WireLogRequest) -> Bool {
        if request.background { return true }
        guard case .fromOffset = request.start else { return false }
        return !request.follow
    }

    private static func isTransfer(_ request: WireWorkspaceRequest) -> Bool {
        switch request.operation {
        case .read, .write: true
        case .list, .remove, .makeDirectory, .stat, nil: false
        }
    }
}

/// The part of a session machine that both sides share: decoding, stream admission, closing.
struct SessionBase<Event: Sendable & Equatable>: Sendable {
    var mux: MuxMachine
    var actions = FIFO<SessionAction<Event>>()
    /// What was left out of the peer's messages and not told yet.
    private var excess = WireExcess()
    /// `actions` ends with `.close`; nothing follows it.
    private(set) var isClosed = false

    init(mux: MuxMachine) {
        self.mux = mux
    }

    mutating func deliver(_ event: Event) {
        guard !isClosed else { return }
        actions.append(.deliver(event))
    }

    mutating func takeExcess() -> WireExcess {
        guard !excess.isEmpty else { return excess }
        defer { excess = WireExcess() }
        return excess
    }

    mutating func perform(_ action: SessionAction<Event>) {
        guard !isClosed else { return }
        actions.append(action)
    }

    mutating func close(_ code: SessionCloseCode, reason: String) {
        guard !isClosed else { return }
        actions.append(.close(code, reason: reason.clipped(toUTF8Bytes: SessionCloseCode.maxReasonBytes)))
        isClosed = true
    }

    mutating func violate(_ rule: ProtocolViolation.Rule, _ detail: String) {
        close(.protocolError, reason: ProtocolViolation(rule, detail).reason)
    }

    /// Queues a session message. False only when the peer has not read for so long that the queue is full; what the
    /// machines send by themselves (heartbeats and their acknowledgements) is superseded by the next one anyway.
    @discardableResult
    mutating func send(_ message: WireSessionMessage) -> Bool {
        guard !isClosed else { return false }
        do {
            let bytes = try message.fittingBytes()
            return try mux.sendSession(bytes)
        } catch {
            // A violation by the peer that is told next, and closes with its own words.
            if !mux.isFailed { close(.protocolError, reason: "a session message could not be sent: \(error)") }
            return false
        }
    }

    /// The next message to send. Sending can make streams writable, and what is owed to a peer that does not read can
    /// have become too much.
    mutating func nextTransmission() -> [UInt8]? {
        defer {
            while let event = mux.nextEvent() {
                switch event {
                case .writable(let stream): perform(.wake(stream: stream))
                case .violated(let violation): close(.protocolError, reason: violation.reason)
                case .sessionMessage, .opened, .readable, .reset, .goAway: break
                }
            }
        }
        return mux.nextTransmission(controlOnly: isClosed)
    }

    /// Translates what the streams say. `isEstablished` is false before `Welcome`, when no streams are allowed.
    /// Returns the next decoded session message; the caller handles it and calls again until nil.
    mutating func nextSessionMessage(isEstablished: Bool) -> WireSessionMessage? {
        while !isClosed, let event = mux.nextEvent() {
            switch event {
            case .sessionMessage(let bytes):
                do {
                    return try WireSessionMessage(bounded: bytes, excess: &excess)
                } catch {
                    violate(.malformedMessage, "stream 0 carries no SessionMessage: \(error)")
                }
            case .opened(let stream, let header):
                guard isEstablished else {
                    violate(.streamBeforeWelcome, "OPEN of stream \(stream) before Welcome")
                    return nil
                }
                admit(stream, header)
            case .readable(let stream), .writable(let stream), .reset(let stream, _, _):
                actions.append(.wake(stream: stream))
            case .goAway(let code, _, let reason):
                goAwayReceived(code: code, reason: reason)
            case .violated(let violation):
                close(.protocolError, reason: violation.reason)
            }
        }
        return nil
    }

    /// Set by the owner: makes the event that announces GOAWAY.
    var goAwayEvent: (@Sendable (UInt32, String) -> Event)?

    private mutating func goAwayReceived(code: UInt32, reason: String) {
        guard let goAwayEvent else { return }
        deliver(goAwayEvent(code, reason))
    }

    private mutating func admit(_ stream: UInt32, _ bytes: [UInt8]) {
        let header: WireStreamHeader
        do {
            header = try WireStreamHeader(bounded: bytes, excess: &excess)
        } catch {
            violate(.malformedMessage, "OPEN of stream \(stream) carries no StreamHeader: \(error)")
            return
        }
        let opener: MuxMachine.Role = mux.role == .agent ? .hub : .agent
        guard let priority = StreamKind.priority(of: header, openedBy: opener) else {
            mux.reset(stream, code: .unsupported, reason: "this kind of stream is not known here")
            mux.release(stream)
            return
        }
        mux.setPriority(priority, of: stream)
        if StreamKind.isTransfer(header) { mux.setTransfer(stream) }
        actions.append(.accept(stream: stream, header: header))
    }
}
