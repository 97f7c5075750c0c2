/// What a bot's own log already holds of a launch in a container. The log is the record: where the agent goes on reading
/// the engine's log after it was away is found here and nowhere else.
struct ContainerLogTail: Sendable {
    /// One line as it was written. Two equal ones are told apart by their number.
    struct Line: Hashable, Sendable {
        var atUnixMilliseconds: UInt64
        var stream: LogStream
        var text: [UInt8]
    }

    /// The engine takes the time of a line before it puts it into its log, and the two outputs wait for each other there:
    /// a line may come after one that is younger by this much. Reading begins so much earlier, and what is known is
    /// passed over.
    static let overlapMilliseconds: UInt64 = 2_000

    /// The launch's first record is there.
    private(set) var hasStarted = false
    /// The launch's last record.
    private(set) var end: SupervisorEvent?
    /// From when on the engine is to be asked, milliseconds since 1970; 0 for everything.
    private(set) var since: UInt64 = 0
    /// The lines since then, and how often each was written.
    private(set) var lines: [Line: Int] = [:]
    /// Time of the last line; 0 where there is none.
    private(set) var lastUnixMilliseconds: UInt64 = 0
    /// The last of stderr.
    private(set) var errors = LastLines()

    /// Reads the log.
    ///
    /// - Parameters:
    ///   - offset: where the launch begins.
    ///   - pendingSince: time of a line that was not finished, in milliseconds.
    ///   - now: milliseconds since 1970. A clock that was set back makes everything be read again, because what came
    ///     last is no longer what has the latest time.
    init(directory: String, launchID: String, offset: UInt64, pendingSince: UInt64?, now: UInt64) {
        // The end first: only then is it known how far back the overlap goes.
        let segments = LogSegments.list(directory)
        var begin = offset
        for segment in segments.reversed() {
            scan(directory, from: max(segment.start, offset), to: nil, launchID: launchID) { _ in }
            if lastUnixMilliseconds > 0 || segment.start <= offset { break }
        }
        let latest = min(lastUnixMilliseconds, pendingSince ?? .max)
        let isSetBack = now < lastUnixMilliseconds
        if !isSetBack, latest > Self.overlapMilliseconds { since = latest - Self.overlapMilliseconds }
        if since > 0 {
            // Only segments that hold something as young.
            for segment in segments where segment.start > offset {
                var reader = LogReader(directory: directory)
                let first = reader.read(from: segment.start, maximumBytes: 4 << 10).records.first
                guard let first, first.atUnixMilliseconds < since else { break }
                begin = segment.start
            }
        }
        errors = LastLines()
        let since = since
        var found: [Line: Int] = [:]
        scan(directory, from: begin, to: nil, launchID: launchID) { record in
            guard record.atUnixMilliseconds >= since else { return }
            let line = Line(atUnixMilliseconds: record.atUnixMilliseconds, stream: record.stream, text: record.text)
            found[line, default: 0] += 1
        }
        lines = found
        if !hasStarted, begin > offset {
            // The first record lies further in front.
            scan(directory, from: offset, to: begin, launchID: launchID) { _ in }
        }
    }

    private mutating func scan(
        _ directory: String,
        from offset: UInt64,
        to limit: UInt64?,
        launchID: String,
        _ body: (LogRecord) -> Void
    ) {
        var reader = LogReader(directory: directory)
        var position = offset
        while limit.map({ position < $0 }) ?? true {
            let batch = reader.read(from: position)
            for record in batch.records {
                if record.stream == .supervisor {
                    take(record, launchID)
                } else {
                    if limit == nil { lastUnixMilliseconds = record.atUnixMilliseconds }
                    if record.stream == .stderr, limit == nil { errors.append(record.text) }
                    body(record)
                }
            }
            // The first record is all that is looked for in front.
            if batch.reachedEnd || batch.nextOffset == position || (limit != nil && hasStarted) { return }
            position = batch.nextOffset
        }
    }

    private mutating func take(_ record: LogRecord, _ launchID: String) {
        guard let event = SupervisorEvent(record.text), event.launchID == launchID else { return }
        if event.event == SupervisorEvent.Name.started { hasStarted = true }
        if event.event == SupervisorEvent.Name.exited { end = event }
    }
}
