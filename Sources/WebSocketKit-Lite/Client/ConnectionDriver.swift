/// Runs a `ConnectionMachine` over a stream, by calls from the loop when the stream is ready, and no task of its own.
///
/// Reading stops while messages nobody has taken exceed `maxUntakenBytes`, and goes on when half of them are gone.
/// What is sent during one turn of the loop leaves together at its end, or sooner when it is much.
///
/// `@unchecked Sendable`: every member but `init` and `deinit` is for the loop's thread only. The stream's and the turn's
/// callbacks come from there. The only other caller is `WebSocketConnection`: where it is not on the loop already
/// (`EpollLoop.isCurrent`), it goes there by `execute` or by an actor whose executor the loop is. `init` and `deinit` have no
/// rival, for nobody holds the object yet, or any more: what the loop is given to call (timer, turn, `execute`) holds it.
final class ConnectionDriver: StreamObserver, TurnObserver, @unchecked Sendable {
    /// Payload of a message from which on it is received in place.
    private static let inPlaceBytes = 4 * 1024
    /// Read before others on the loop get their turn.
    private static let maxReadBytesPerTurn = 256 * 1024
    /// Queued from which on a turn's end is not waited for.
    private static let flushBytes = 32 * 1024
    /// Reads and writes made within calls of the application before it is made to wait, so that a busy one leaves the
    /// loop's thread to others from time to time.
    private static let maxCallsWithoutPause = 16

    let loop: EpollLoop
    private let stream: any ByteStream
    private let configuration: ClientConfiguration
    /// Behind a pointer, because each use of a class's property is checked for another use under way, and a message
    /// takes a score of them. Here there is none: no call of the machine leads back to the driver.
    private let machine: UnsafeMutablePointer<ConnectionMachine>

    /// Why the transport failed, when it did.
    private var transportError: (any Error)?
    private var isTransportToBeClosed = false
    private var isFinished = false
    private var isReadingPaused = false
    private var mayBeReadable = true
    private var isTurnEndAwaited = false
    var nextTurnObserver: (any TurnObserver)?
    private var callsWithoutPause = 0
    /// How much is read before it is known what it belongs to. Little while large messages come, for all of it is
    /// copied, and what follows in a large message is received in place.
    private var readAheadBytes = EpollLoop.scratchBytes
    /// When the bytes queued for writing must have made progress; nil while none wait for room.
    private var writeDeadline: Duration?
    private var timer: EpollLoop.TimerID?
    /// When the timer is due. This and `writeDeadline` count from the machine's epoch; see `Epoch` for the reason.
    private var timerDeadline: Duration?

    /// Open while there is a message, or the outcome is known.
    private let hasNews: ReadinessGate
    /// Open while no more than `maxQueuedWriteBytes` wait to be written, or the outcome is known.
    private let hasRoom: ReadinessGate
    /// Open once the transport is closed.
    private let hasEnded: ReadinessGate

    init(stream: any ByteStream, machine: consuming ConnectionMachine, configuration: ClientConfiguration) {
        self.stream = stream
        self.machine = .allocate(capacity: 1)
        self.machine.initialize(to: machine)
        self.configuration = configuration
        loop = stream.loop
        hasNews = ReadinessGate(loop: loop)
        hasRoom = ReadinessGate(loop: loop, isOpen: true)
        hasEnded = ReadinessGate(loop: loop)
    }

    deinit {
        machine.deinitialize(count: 1)
        machine.deallocate()
    }

    /// Takes the stream over, with what was received on it already.
    func start(received: ArraySlice<UInt8>) {
        stream.observer = self
        machine.pointee.receive(received, now: .now)
        settle()
        readWhatIsThere()
    }

    // MARK: Application's side

    var closeStatus: CloseStatus? { machine.pointee.closeStatus }
    var roundTripTime: Duration? { machine.pointee.roundTripTime }

    /// Queues a message. True when that is all there is to do; false when the caller is to `waitForRoom`.
    func send(_ message: WebSocketMessage, compressing: Bool = true) throws(WebSocketError) -> Bool {
        do throws(LocalMisuse) {
            try machine.pointee.send(message, compressing: compressing)
        } catch {
            throw closedError
        }
        if queuedBytes > min(Self.flushBytes, configuration.maxQueuedWriteBytes) {
            flush()
            callsWithoutPause += 1
        } else {
            flushAtEndOfTurn()
        }
        return queuedBytes <= configuration.maxQueuedWriteBytes && callsWithoutPause < Self.maxCallsWithoutPause
    }

    /// Waits until no more than the limit waits to be written.
    func waitForRoom(isolation: isolated (any Actor)? = #isolation) async throws(WebSocketError) {
        if callsWithoutPause >= Self.maxCallsWithoutPause {
            callsWithoutPause = 0
            await Task.yield()
        }
        do {
            while machine.pointee.closeStatus == nil, queuedBytes > configuration.maxQueuedWriteBytes {
                hasRoom.shut()
                try await hasRoom.wait()
            }
        } catch is CancellationError {
            throw .cancelled
        } catch {
            throw closedError
        }
        if machine.pointee.closeStatus != nil { throw closedError }
    }

    /// A message that is there, or can be had without waiting; nil when there is none.
    func takeMessage() -> WebSocketMessage? {
        if let message = nextMessage() { return message }
        guard machine.pointee.closeStatus == nil else {
            settle()
            return nil
        }
        guard mayBeReadable, !isReadingPaused, machine.pointee.isOpen else { return messageArrivingNow() }
        guard callsWithoutPause < Self.maxCallsWithoutPause else {
            callsWithoutPause = 0
            loop.execute { self.readWhatIsThere() }
            return nil
        }
        callsWithoutPause += 1
        readOnce()
        settle()
        return nextMessage()
    }

    /// Every message leaves here, because taking one may be what a paused reader waits for.
    private func nextMessage() -> WebSocketMessage? {
        guard let message = machine.pointee.nextMessage() else { return nil }
        resumeReading()
        return message
    }

    private func messageArrivingNow() -> WebSocketMessage? {
        guard machine.pointee.isOpen else { return nil }
        while loop.pollBriefly() {
            if let message = nextMessage() { return message }
            guard machine.pointee.closeStatus == nil, !isFinished else { break }
        }
        return nextMessage()
    }

    func receive(isolation: isolated (any Actor)? = #isolation) async throws(WebSocketError) -> WebSocketMessage? {
        while true {
            if let message = takeMessage() { return message }
            if let status = machine.pointee.closeStatus {
                guard status.isClean else { throw closedError }
                // The caller may let go of the connection now; the answer to Close must be out before.
                flush()
                return nil
            }
            hasNews.shut()
            do {
                try await hasNews.wait()
            } catch {
                throw .cancelled
            }
        }
    }

    func close(
        code: CloseCode,
        reason: String,
        isolation: isolated (any Actor)? = #isolation
    ) async throws(WebSocketError) {
        do throws(LocalMisuse) {
            try machine.pointee.close(code: code, reason: reason, now: .now)
        } catch {
            throw WebSocketError(.misuse, "\(error)", cause: error)
        }
        // The answer to Close may stand behind messages that nobody takes any more.
        resumeReading()
        flush()
        do {
            try await hasEnded.wait()
        } catch {
            throw .cancelled
        }
    }

    /// Ends the transport without a handshake.
    func drop() {
        finish()
    }

    private var closedError: WebSocketError {
        let status = machine.pointee.closeStatus
        let cause = transportError.map { " (\($0))" } ?? ""
        return WebSocketError(
            .closed,
            "the WebSocket connection is closed: \(status.map(String.init(describing:)) ?? "closing")\(cause)",
            cause: transportError,
            closeStatus: status
        )
    }

    // MARK: Reading

    func streamBecameReadable() {
        mayBeReadable = true
        readWhatIsThere()
    }

    private func readWhatIsThere() {
        var budget = Self.maxReadBytesPerTurn
        while mayBeReadable, !isFinished, !isReadingPaused {
            guard budget > 0 else {
                // Others first; then on.
                flushAtEndOfTurn()
                loop.execute { self.readWhatIsThere() }
                return
            }
            budget -= readOnce()
            pauseReadingIfFull()
        }
        settle()
    }

    /// Reads once, straight into the message where a large one is in progress. Returns how many bytes came.
    @discardableResult
    private func readOnce() -> Int {
        var outcome: Int?
        do throws(StreamError) {
            let inPlace = machine.pointee.missingBytesInPlace
            if inPlace >= Self.inPlaceBytes {
                var failure: StreamError?
                machine.pointee.receiveInPlace(maxBytes: min(inPlace, EpollLoop.scratchBytes), now: .now) { room in
                    do throws(StreamError) {
                        outcome = try stream.tryRead(into: room)
                    } catch {
                        failure = error
                    }
                    return outcome ?? 0
                }
                if let failure { throw failure }
                readAheadBytes = Self.inPlaceBytes
            } else {
                let room = UnsafeMutableRawBufferPointer(rebasing: loop.scratch[..<readAheadBytes])
                outcome = try stream.tryRead(into: room)
                if let count = outcome, count > 0 {
                    machine.pointee.receive(UnsafeRawBufferPointer(rebasing: room[..<count]), now: .now)
                    if count == readAheadBytes, machine.pointee.missingBytesInPlace < Self.inPlaceBytes {
                        readAheadBytes = min(4 * readAheadBytes, EpollLoop.scratchBytes)
                    }
                }
            }
        } catch {
            transportFailed(error)
            return 0
        }
        switch outcome {
        case nil:
            mayBeReadable = false
        case 0:
            mayBeReadable = false
            machine.pointee.receiveEOF(now: .now)
        default:
            mayBeReadable = stream.mayHaveMore
        }
        return outcome ?? 0
    }

    private func pauseReadingIfFull() {
        guard machine.pointee.isOpen, machine.pointee.undeliveredBytes >= configuration.maxUntakenBytes else { return }
        isReadingPaused = true
        machine.pointee.setReadingPaused(true, now: .now)
    }

    private func resumeReading() {
        guard isReadingPaused,
            !machine.pointee.isOpen || machine.pointee.undeliveredBytes <= configuration.maxUntakenBytes / 2
        else { return }
        isReadingPaused = false
        machine.pointee.setReadingPaused(false, now: .now)
        // Silence counts again, which may be the earlier deadline.
        cancelTimer()
        // Not here and now: a caller that takes one message after the other would never get to them.
        loop.execute { self.readWhatIsThere() }
    }

    // MARK: Writing

    func streamBecameWritable() {
        flush()
        // TLS may have waited for room with an answer of its own before it could read on.
        readWhatIsThere()
    }

    func turnEnded() {
        isTurnEndAwaited = false
        flush()
    }

    private func flushAtEndOfTurn() {
        guard !isTurnEndAwaited else { return }
        isTurnEndAwaited = true
        loop.callAtEndOfTurn(self)
    }

    /// Writes as much as there is room for.
    private func flush() {
        guard !isFinished else { return }
        do throws(StreamError) {
            let before = queuedBytes
            while try stream.tryFlush() {
                let count = machine.pointee.takeWrite(into: loop.scratch)
                guard count > 0 else { break }
                try stream.tryWrite(UnsafeRawBufferPointer(rebasing: loop.scratch[..<count]))
            }
            // The machine ends the transport only once its last frame is written.
            takeOutcomes()
            if queuedBytes == 0 {
                writeDeadline = nil
                if isTransportToBeClosed { finish() }
            } else if queuedBytes < before || writeDeadline == nil {
                writeDeadline = machine.pointee.epoch.elapsed(at: .now) + configuration.writeTimeout
            }
            openGates()
            armTimer()
        } catch {
            transportFailed(error)
        }
    }

    /// Bytes that are not with the system yet.
    private var queuedBytes: Int { machine.pointee.queuedWriteBytes + stream.unsentBytes }

    /// Takes what the machine has decided, after every call that may have changed it.
    private func settle() {
        takeOutcomes()
        if queuedBytes > 0 || isTransportToBeClosed {
            flushAtEndOfTurn()
        }
        openGates()
        armTimer()
    }

    private func takeOutcomes() {
        while let outcome = machine.pointee.nextOutcome() {
            if case .closeTransport = outcome { isTransportToBeClosed = true }
        }
    }

    private func openGates() {
        let hasOutcome = machine.pointee.closeStatus != nil
        if machine.pointee.hasUndeliveredMessages || hasOutcome { hasNews.open() }
        if queuedBytes <= configuration.maxQueuedWriteBytes || hasOutcome { hasRoom.open() }
    }

    // MARK: Time and ending

    /// Keeps one timer at or before the next deadline; one that comes early finds nothing due and is set anew.
    private func armTimer() {
        // As long as all is well, deadlines only move away.
        let isWell = machine.pointee.isOpen && !machine.pointee.isAboutToFail
        if timerDeadline != nil, writeDeadline == nil, isWell { return }
        guard let deadline = nextDeadline else {
            cancelTimer()
            return
        }
        if let timerDeadline, timerDeadline <= deadline { return }
        cancelTimer()
        timerDeadline = deadline
        // `finish` cancels it, so it does not keep the driver for good.
        timer = loop.schedule(at: machine.pointee.epoch.instant(after: deadline)) { self.timerFired() }
    }

    private func cancelTimer() {
        timer.map(loop.cancel)
        timer = nil
        timerDeadline = nil
    }

    private var nextDeadline: Duration? {
        guard !isFinished else { return nil }
        guard let deadline = machine.pointee.deadline else { return writeDeadline }
        return writeDeadline.map { min($0, deadline) } ?? deadline
    }

    private func timerFired() {
        timer = nil
        timerDeadline = nil
        let now = ContinuousClock.now
        if let writeDeadline, machine.pointee.epoch.elapsed(at: now) >= writeDeadline {
            transportFailed(StreamError.timedOut)
        }
        machine.pointee.tick(now: now)
        settle()
    }

    private func transportFailed(_ error: StreamError) {
        if !isFinished, transportError == nil {
            transportError = error
        }
        mayBeReadable = false
        machine.pointee.receiveEOF(now: .now)
        // Nothing can be written any more.
        finish()
        settle()
    }

    private func finish() {
        guard !isFinished else { return }
        isFinished = true
        cancelTimer()
        stream.closeNow()
        stream.observer = nil
        hasEnded.open()
    }
}
