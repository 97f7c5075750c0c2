import Glibc
import WireFormat

/// Writes what a container prints into the bot's log, each line once, and what the agent has to say about the launch.
/// Whoever holds one holds the bot's lock. Blocks for as long as the disk takes.
struct ContainerOutput: ~Copyable {
    private let directory: BotDirectory
    private let launchID: String
    private let logOffset: UInt64
    private let prefix: [UInt8]
    private let lock: Int32
    private var log: LogSegmentWriter
    private var decoder = EngineLogDecoder()
    private var standardOutput = Capture()
    private var standardError = Capture()
    /// Lines the engine tells again and that are written already.
    private var known: [ContainerLogTail.Line: Int] = [:]
    private var batch: [UInt8] = []
    private var batchRecords = 0
    private var hasPendingFile = false
    private(set) var lastErrors: LastLines
    private(set) var hasStarted: Bool
    /// Where the launch's last record stands already.
    private(set) var end: SupervisorEvent?

    /// One output of the bot.
    private struct Capture {
        var lines = LineSplitter()
        /// Of the line that is not finished.
        var begun: timespec?
    }

    /// - Parameter lock: of the bot's directory; closed with this.
    init(directory: BotDirectory, plan: LaunchPlan, logOffset: UInt64, lock: Int32) {
        self.directory = directory
        self.lock = lock
        self.logOffset = logOffset
        launchID = plan.launchID
        prefix = Array(plan.packetPrefix.utf8)
        // Opened first: it takes back what an agent that died had written in part.
        log = LogSegmentWriter(
            directory: directory.logs,
            limits: plan.logLimits
        )
        let tail = Self.tail(directory, launchID, logOffset)
        hasStarted = tail.hasStarted
        end = tail.end
        lastErrors = tail.errors
    }

    deinit {
        close(lock)
    }

    private static func tail(_ directory: BotDirectory, _ launchID: String, _ offset: UInt64) -> ContainerLogTail {
        // Without the file no line is unfinished.
        let pending = (try? Files.read(directory.pendingLine)).flatMap {
            UInt64(decimal: String(decoding: $0, as: UTF8.self))
        }
        return ContainerLogTail(
            directory: directory.logs,
            launchID: launchID,
            offset: offset,
            pendingSince: pending,
            now: Journal.wallClock()
        )
    }

    // MARK: The engine's log

    /// Begins to read the engine's log, once more.
    ///
    /// - Returns: from when on it is to be asked for, milliseconds since 1970.
    mutating func beginReading() -> UInt64 {
        decoder = EngineLogDecoder()
        (standardOutput, standardError) = (Capture(lines: LineSplitter(wholeLinePrefix: prefix)), Capture())
        let tail = Self.tail(directory, launchID, logOffset)
        known = tail.lines
        hasPendingFile = access(directory.pendingLine, F_OK) == 0
        return tail.since
    }

    /// Takes the next bytes of the engine's log.
    mutating func feed(_ bytes: [UInt8]) throws(EngineError) {
        defer { writeBatch() }
        decoder.feed(bytes)
        while let entry = try decoder.next() { take(entry) }
        notePending()
    }

    /// The engine's log is at its end.
    ///
    /// - Parameter isLast: nothing comes any more, so a line without its newline is a line.
    mutating func endReading(isLast: Bool) {
        guard isLast else { return }
        for stream in [LogStream.stdout, .stderr] {
            var capture = takeCapture(stream)
            let time = LogTimestamp.text(capture.begun ?? LogTimestamp.now())
            let milliseconds = LogTimestamp.unixMilliseconds(time[...]) ?? 0
            capture.lines.end { add($0, stream, time, milliseconds) }
        }
        writeBatch()
        notePending()
    }

    private mutating func take(_ entry: EngineLogDecoder.Entry) {
        // Taken out for the time of the call: what comes out of it goes into other parts of this struct.
        var capture = takeCapture(entry.stream)
        let begun = capture.begun ?? entry.time
        let time = LogTimestamp.text(begun)
        let milliseconds = LogTimestamp.unixMilliseconds(time[...]) ?? 0
        entry.text.withUnsafeBytes { bytes in
            capture.lines.feed(bytes) { add($0, entry.stream, time, milliseconds) }
        }
        capture.begun = capture.lines.hasPending ? begun : nil
        if entry.stream == .stdout { standardOutput = capture } else { standardError = capture }
    }

    private mutating func takeCapture(_ stream: LogStream) -> Capture {
        var taken = Capture()
        if stream == .stdout { swap(&taken, &standardOutput) } else { swap(&taken, &standardError) }
        return taken
    }

    private mutating func add(
        _ piece: LineSplitter.Piece,
        _ stream: LogStream,
        _ time: [UInt8],
        _ milliseconds: UInt64
    ) {
        let isPacket: Bool
        let line: UnsafeRawBufferPointer
        var isTruncated = false
        switch piece {
        case .line(let text): line = text
        case .beginning(let text):
            line = text
            isTruncated = true
        case .cut(let droppedBytes):
            // Its beginning was written before, or was known.
            guard known.isEmpty else { return }
            let stream = stream.name
            return note(#"{"event":"line_cut","stream":"\#(stream)","dropped_bytes":\#(droppedBytes)}"#, time)
        }
        isPacket = stream == .stdout && startsWithPrefix(line)
        let text = isPacket ? UnsafeRawBufferPointer(rebasing: line[prefix.count...]) : line
        let written = isPacket ? LogStream.packet : stream
        if !known.isEmpty, isKnown(text, written, milliseconds, time) { return }
        if stream == .stderr { lastErrors.append(line) }
        LogRecord.write(to: &batch, timestamp: time, stream: written, isTruncated: isTruncated, text: text)
        batchRecords += 1
        if batch.count > 256 << 10 { writeBatch() }
    }

    /// Whether the line is one that was written before the agent was away. The first that is not follows all that are:
    /// if some have not come by then, the engine has them no more, and what it lost after them with them.
    private mutating func isKnown(
        _ text: UnsafeRawBufferPointer,
        _ stream: LogStream,
        _ milliseconds: UInt64,
        _ time: [UInt8]
    ) -> Bool {
        let line = ContainerLogTail.Line(atUnixMilliseconds: milliseconds, stream: stream, text: Array(text))
        if let count = known[line] {
            known[line] = count > 1 ? count - 1 : nil
            return true
        }
        known = [:]
        note(#"{"event":"gap","reason":"rotated_by_engine"}"#, time)
        return false
    }

    private func startsWithPrefix(_ line: UnsafeRawBufferPointer) -> Bool {
        guard !prefix.isEmpty, line.count >= prefix.count, let base = line.baseAddress else { return false }
        return prefix.withUnsafeBytes { known in
            known.baseAddress.map { memcmp(base, $0, known.count) == 0 } ?? false
        }
    }

    /// Keeps the time of an unfinished line, in case the agent dies before its end.
    private mutating func notePending() {
        let begun = [standardOutput.begun, standardError.begun].compactMap { $0 }
            .compactMap { LogTimestamp.unixMilliseconds(LogTimestamp.text($0)[...]) }.min()
        if let begun, !hasPendingFile {
            // Where it cannot be written, a line of more than 16 KiB may be lost if the agent dies in the middle of it.
            hasPendingFile =
                (try? Files.replace(directory.pendingLine, with: Array(String(begun).utf8), mode: 0o600)) != nil
        } else if begun == nil, hasPendingFile {
            unlink(directory.pendingLine)
            hasPendingFile = false
        }
    }

    // MARK: The agent's own words

    /// Writes the launch's first record.
    mutating func announce(_ event: SupervisorEvent) {
        guard !hasStarted else { return }
        hasStarted = true
        record(event)
    }

    /// Writes the launch's last record and returns once it is on the disk.
    mutating func conclude(_ event: SupervisorEvent) {
        guard end == nil else { return }
        end = event
        record(event)
        log.flush()
        unlink(directory.pendingLine)
    }

    private mutating func record(_ event: SupervisorEvent) {
        event.line.withUnsafeBytes { note($0, LogTimestamp.text(LogTimestamp.now())) }
        writeBatch()
    }

    private mutating func note(_ text: String, _ time: [UInt8]) {
        Array(text.utf8).withUnsafeBytes { note($0, time) }
    }

    private mutating func note(_ text: UnsafeRawBufferPointer, _ time: [UInt8]) {
        LogRecord.write(to: &batch, timestamp: time, stream: .supervisor, isTruncated: false, text: text)
        batchRecords += 1
    }

    private mutating func writeBatch() {
        guard batchRecords > 0 else { return }
        log.append(batch, count: batchRecords)
        batch.removeAll(keepingCapacity: batch.capacity <= 512 << 10)
        batchRecords = 0
    }
}
