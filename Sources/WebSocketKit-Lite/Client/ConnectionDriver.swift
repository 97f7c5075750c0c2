/// Runs a `ConnectionMachine` over a stream: one task reads, one writes, a timer ticks; all on the loop's thread.
///
/// Reading stops while messages nobody has taken exceed `maxUntakenBytes`, and goes on when half of them are gone.
/// What is queued for writing is what senders are waiting for, so it is bounded by them; whatever has gathered during
/// one write goes out with the next.
actor ConnectionDriver {
    /// Largest piece given to the stream at once. The write limit applies to each, so a long message on a slow link is
    /// not mistaken for a dead one.
    private static let maxWriteBytes = 64 * 1024
    /// More senders than this wait before their message is even copied into the queue.
    private static let maxQueuedWriteBytes = 256 * 1024

    private let loop: EpollLoop
    private let stream: any ByteStream
    private let configuration: ClientConfiguration
    private var machine: ConnectionMachine

    private var inbox: [WebSocketMessage] = []
    private var inboxHead = 0
    private var inboxBytes = 0
    /// Why the transport failed, when it did.
    private var transportError: (any Error)?
    private var mustCloseTransport = false
    private var isFinished = false
    private var timer: EpollLoop.TimerID?

    /// Open while there is something to write or the transport is to be closed.
    private let hasOutgoing: ReadinessGate
    /// Open while the inbox has room.
    private let hasRoom: ReadinessGate
    /// Open while there is a message, or the outcome is known.
    private let hasNews: ReadinessGate
    /// Open once the transport is closed.
    private let hasEnded: ReadinessGate
    /// Opens when what is queued now has been written.
    private var batchWritten: ReadinessGate

    nonisolated var unownedExecutor: UnownedSerialExecutor { loop.asUnownedSerialExecutor() }

    init(stream: any ByteStream, loop: EpollLoop, machine: ConnectionMachine, configuration: ClientConfiguration) {
        self.stream = stream
        self.loop = loop
        self.machine = machine
        self.configuration = configuration
        hasOutgoing = ReadinessGate(loop: loop)
        hasRoom = ReadinessGate(loop: loop, isOpen: true)
        hasNews = ReadinessGate(loop: loop)
        hasEnded = ReadinessGate(loop: loop)
        batchWritten = ReadinessGate(loop: loop)
    }

    // MARK: Application's side

    var closeStatus: CloseStatus? { machine.closeStatus }
    var roundTripTime: Duration? { machine.roundTripTime }

    func send(_ message: WebSocketMessage) async throws(WebSocketError) {
        do {
            while machine.isOpen, machine.queuedWriteBytes >= Self.maxQueuedWriteBytes {
                try await batchWritten.wait()
            }
            try machine.send(message, now: .now)
            let written = batchWritten
            settle()
            try await written.wait()
        } catch is CancellationError {
            throw .cancelled
        } catch let error as WebSocketError {
            throw error
        } catch {
            throw closedError
        }
    }

    func receive() async throws(WebSocketError) -> WebSocketMessage? {
        while true {
            if let message = takeMessage() { return message }
            if let status = machine.closeStatus {
                guard status.isClean else { throw closedError }
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

    func close(code: CloseCode, reason: String) async throws(WebSocketError) {
        do throws(LocalMisuse) {
            try machine.close(code: code, reason: reason, now: .now)
        } catch {
            throw WebSocketError(.misuse, "\(error)", cause: error)
        }
        // The answer to Close may stand behind messages that nobody takes any more.
        hasRoom.open()
        settle()
        do {
            try await hasEnded.wait()
        } catch {
            throw .cancelled
        }
    }

    private func takeMessage() -> WebSocketMessage? {
        guard inboxHead < inbox.count else { return nil }
        let message = inbox[inboxHead]
        inboxHead += 1
        inboxBytes -= message.byteCount
        if inboxHead == inbox.count {
            inbox.removeAll(keepingCapacity: inbox.capacity <= 64)
            inboxHead = 0
        }
        if inboxBytes <= configuration.maxUntakenBytes / 2 {
            hasRoom.open()
        }
        return message
    }

    private var closedError: WebSocketError {
        let status = machine.closeStatus
        let cause = transportError.map { " (\($0))" } ?? ""
        return WebSocketError(
            .closed,
            "the WebSocket connection is closed: \(status.map(String.init(describing:)) ?? "closing")\(cause)",
            cause: transportError,
            closeStatus: status
        )
    }

    // MARK: Driving

    /// Drives the connection to its end. Cancellation drops it without a closing handshake.
    func run(received: ArraySlice<UInt8>) async {
        machine.receive(received, now: .now)
        settle()
        await withTaskGroup(of: Void.self) { group in
            group.addTask { await self.readToEnd() }
            group.addTask { await self.writeToEnd() }
        }
        await finish()
    }

    private func readToEnd() async {
        do {
            while !isFinished {
                if inboxBytes >= configuration.maxUntakenBytes, machine.isOpen {
                    hasRoom.shut()
                    machine.setReadingPaused(true, now: .now)
                    armTimer()
                    try await hasRoom.wait()
                    machine.setReadingPaused(false, now: .now)
                }
                let bytes = try await stream.read(maxBytes: Self.maxWriteBytes, deadline: nil)
                guard !bytes.isEmpty else {
                    machine.receiveEOF(now: .now)
                    settle()
                    return
                }
                machine.receive(bytes[...], now: .now)
                settle()
            }
        } catch {
            transportFailed(error)
        }
    }

    private func writeToEnd() async {
        do {
            while !mustCloseTransport {
                guard let bytes = machine.takeWrite() else {
                    hasOutgoing.shut()
                    settle()
                    try await hasOutgoing.wait()
                    continue
                }
                let written = batchWritten
                batchWritten = ReadinessGate(loop: loop)
                do {
                    try await write(bytes)
                    written.open()
                } catch {
                    written.fail(error)
                    throw error
                }
            }
        } catch {
            transportFailed(error)
        }
        await finish()
    }

    private func write(_ bytes: [UInt8]) async throws {
        var rest = bytes[...]
        while !rest.isEmpty {
            // A peer that was given up meanwhile is not worth the rest of a long message.
            guard machine.closeStatus?.isPeerLost != true else { throw StreamError.closed }
            let piece = rest.prefix(Self.maxWriteBytes)
            try await stream.write(piece, deadline: .now + configuration.writeTimeout)
            rest = rest.dropFirst(piece.count)
        }
    }

    /// Takes what the machine has decided, after every call that may have changed it.
    private func settle() {
        while let event = machine.nextEvent() {
            switch event {
            case .deliver(let message):
                inbox.append(message)
                inboxBytes += message.byteCount
                hasNews.open()
            case .closed:
                hasNews.open()
                hasRoom.open()
            case .closeTransport:
                mustCloseTransport = true
                hasOutgoing.open()
            case .write:
                break
            }
        }
        if machine.queuedWriteBytes > 0 {
            hasOutgoing.open()
        }
        armTimer()
    }

    private func armTimer() {
        guard let deadline = isFinished ? nil : machine.nextDeadline else {
            timer.map(loop.cancel)
            timer = nil
            return
        }
        guard timer?.deadline != deadline else { return }
        timer.map(loop.cancel)
        timer = loop.schedule(at: deadline) { [weak self] in
            self?.assumeIsolated { driver in
                driver.timer = nil
                driver.machine.tick(now: .now)
                driver.settle()
            }
        }
    }

    private func transportFailed(_ error: any Error) {
        if !isFinished, transportError == nil {
            transportError = error
        }
        machine.receiveEOF(now: .now)
        // Nothing can be written any more; what is queued would otherwise hold back the end.
        while machine.takeWrite() != nil {}
        settle()
    }

    private func finish() async {
        guard !isFinished else { return }
        isFinished = true
        armTimer()
        batchWritten.fail(StreamError.closed)
        await stream.close()
        hasEnded.open()
    }
}
