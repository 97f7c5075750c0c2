/// Decides whether compressing is worth its time, by what it brought so far.
///
/// Sending goes on in windows. Of each it is told how many bytes went and how long that took, waiting for the link
/// included; the faster way is kept, and the other tried again now and then, because links and files change.
public struct CompressionChooser: Sendable {
    /// What is measured at once, in bytes.
    public static let windowBytes = 2 << 20
    /// Windows until the other way is tried again; doubles with each trial.
    private static let retryRange = 4...256
    /// A link faster than this outruns every compressor on one core, in bytes per second.
    private static let hopelessRate = 150e6

    /// Whether the next message is to be compressed.
    public private(set) var isCompressing = false

    private var bytes = 0
    private var time = Duration.zero
    private var plainRate = 0.0
    private var compressedRate = 0.0
    private var isTrial = false
    private var windowsUntilTrial = 1
    private var retry = retryRange.lowerBound

    /// Nothing was measured yet; begins without compression.
    public init() {}

    /// Takes what became of a message: its length before compression and the time from reading it to its being taken.
    public mutating func sent(bytes count: Int, in elapsed: Duration) {
        bytes += count
        time += elapsed
        guard bytes >= Self.windowBytes else { return }
        let rate = Double(bytes) / max(time / .seconds(1), 1e-6)
        if isCompressing { compressedRate = rate } else { plainRate = rate }
        bytes = 0
        time = .zero
        choose()
    }

    private mutating func choose() {
        if isTrial {
            isTrial = false
            // A little better is not enough: the processor is needed elsewhere.
            isCompressing = compressedRate > plainRate * 1.1
            windowsUntilTrial = retry
            retry = min(retry * 2, Self.retryRange.upperBound)
            return
        }
        windowsUntilTrial -= 1
        guard windowsUntilTrial <= 0 else { return }
        guard isCompressing || plainRate < Self.hopelessRate else {
            windowsUntilTrial = retry
            return
        }
        isTrial = true
        isCompressing.toggle()
    }
}
