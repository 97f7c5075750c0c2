import Glibc

/// Takes in what a bot writes to its two streams and lays it down in the log. Single-threaded; never blocks on the bot,
/// and the bot never waits for longer than a write to the log takes.
struct OutputCapture: ~Copyable {
    /// What a pipe holds; more cannot be read at once.
    private static let readBytes = 64 << 10

    private let prefix: [UInt8]
    private let isAging: Bool
    private var log: LogSegmentWriter
    private var output = Source()
    private var errors = Source()
    private var records = RecordBuffer()
    private(set) var lastErrors = LastLines()
    private let readBuffer = UnsafeMutableRawBufferPointer.allocate(byteCount: readBytes, alignment: 16)

    /// One of the bot's two output streams.
    private struct Source {
        var descriptor: Int32 = -1
        var lines = LineSplitter()
    }

    /// - Parameters:
    ///   - packetPrefix: a stdout line that begins with it is a packet.
    ///   - directory: of the log; exists.
    init(packetPrefix: String, directory: String, limits: LogSegmentWriter.Limits) {
        prefix = Array(packetPrefix.utf8)
        isAging = limits.maximumAgeSeconds > 0
        log = LogSegmentWriter(directory: directory, limits: limits)
        output = Source(lines: LineSplitter(wholeLinePrefix: prefix))
        log.reserve()
    }

    deinit {
        readBuffer.deallocate()
    }

    /// The pipes' reading ends, which are this capture's from now on.
    mutating func attach(output: Int32, errors: Int32) {
        // Only the reading ends: the bot's own ends stay blocking, as programs expect.
        _ = fcntl(output, F_SETFL, O_NONBLOCK)
        _ = fcntl(errors, F_SETFL, O_NONBLOCK)
        self.output.descriptor = output
        self.errors.descriptor = errors
    }

    /// For `poll`; -1 once a stream has ended.
    var descriptors: (output: Int32, errors: Int32) { (output.descriptor, errors.descriptor) }

    /// The log holds less than it should, or grows old; look again after this many milliseconds. Nil: only when the bot
    /// writes.
    var idleMilliseconds: UInt64? {
        if log.owesGap { return 1_000 }
        return isAging ? 60_000 : nil
    }

    /// What is due without the bot having written anything.
    mutating func tick() {
        log.settleGap()
        log.expire()
    }

    /// Takes what is in the pipes now, at most a bounded part of it, and writes it into the log.
    mutating func take(output hasOutput: Bool, errors hasErrors: Bool) {
        if hasOutput { readAvailable(.stdout) }
        if hasErrors { readAvailable(.stderr) }
        write()
    }

    /// Takes what is still in the pipes. Nobody who could write is left, so this ends.
    mutating func drain() {
        for stream in [LogStream.stdout, .stderr] {
            while readAvailable(stream) { write() }
            records.begin(at: LogTimestamp.now())
            var source = takeOut(stream)
            source.lines.end { add($0, stream) }
        }
        write()
    }

    /// Writes one event of the supervisor.
    mutating func record(_ event: SupervisorEvent) {
        records.begin(at: LogTimestamp.now())
        event.line.withUnsafeBytes { records.append(.supervisor, $0) }
        write()
    }

    /// Writes the event that ends the launch, for which space was reserved, and returns once it is on the disk.
    ///
    /// - Returns: whether it is.
    mutating func conclude(_ event: SupervisorEvent) -> Bool {
        write()
        records.begin(at: LogTimestamp.now())
        event.line.withUnsafeBytes { records.append(.supervisor, $0) }
        defer { records.removeAll() }
        guard log.appendUrgent(records.bytes, count: records.recordCount) else { return false }
        log.flush()
        return true
    }

    // MARK: Reading

    /// Reads until the pipe is empty or a write is due. False where there is nothing more to read, now or ever.
    @discardableResult
    private mutating func readAvailable(_ stream: LogStream) -> Bool {
        // Taken out for the time of the call: what comes out of it goes into other parts of this struct.
        var source = takeOut(stream)
        defer { putBack(stream, source) }
        guard source.descriptor >= 0 else { return false }
        var hasRead = false
        while !records.isDue {
            let count = Glibc.read(source.descriptor, readBuffer.baseAddress, readBuffer.count)
            if count < 0, errno == EINTR { continue }
            if count < 0 { return hasRead }
            guard count > 0 else {
                close(source.descriptor)
                source.descriptor = -1
                return hasRead
            }
            hasRead = true
            records.begin(at: LogTimestamp.now())
            source.lines.feed(UnsafeRawBufferPointer(rebasing: readBuffer[..<count])) { add($0, stream) }
        }
        return true
    }

    private mutating func takeOut(_ stream: LogStream) -> Source {
        var taken = Source()
        if stream == .stdout { swap(&taken, &output) } else { swap(&taken, &errors) }
        return taken
    }

    private mutating func putBack(_ stream: LogStream, _ source: Source) {
        if stream == .stdout { output = source } else { errors = source }
    }

    private mutating func add(_ piece: LineSplitter.Piece, _ stream: LogStream) {
        switch piece {
        case .line(let line): add(line, stream, isTruncated: false)
        case .beginning(let line): add(line, stream, isTruncated: true)
        case .cut(let droppedBytes):
            let note = #"{"event":"line_cut","stream":"\#(stream.name)","dropped_bytes":\#(droppedBytes)}"#
            Array(note.utf8).withUnsafeBytes { records.append(.supervisor, $0) }
        }
        // Short lines grow by what stands in front of each.
        if records.isDue { write() }
    }

    private mutating func add(_ line: UnsafeRawBufferPointer, _ stream: LogStream, isTruncated: Bool) {
        if stream == .stderr {
            lastErrors.append(line)
        } else if isPacket(line) {
            let text = UnsafeRawBufferPointer(rebasing: line[prefix.count...])
            records.append(.packet, isTruncated: isTruncated, text)
            return
        }
        records.append(stream, isTruncated: isTruncated, line)
    }

    private func isPacket(_ line: UnsafeRawBufferPointer) -> Bool {
        guard !prefix.isEmpty, line.count >= prefix.count, let base = line.baseAddress else { return false }
        return prefix.withUnsafeBytes { known in
            known.baseAddress.map { memcmp(base, $0, known.count) == 0 } ?? false
        }
    }

    private mutating func write() {
        guard records.recordCount > 0 else { return }
        log.append(records.bytes, count: records.recordCount)
        records.removeAll()
    }
}
