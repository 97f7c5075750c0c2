import FoundationEssentials

/// Reads what the engine tells while it pulls an image: JSON objects, one a line, one for each step of each layer.
struct PullProgress {
    private struct Message: Decodable {
        struct Detail: Decodable {
            var current: UInt64?
            var total: UInt64?
        }

        var status: String?
        var id: String?
        var progressDetail: Detail?
        var error: String?
    }

    private struct Layer {
        var current: UInt64 = 0
        var total: UInt64 = 0
        var isComplete = false
    }

    /// More layers than an image can have.
    private static let mostLayers = 1_000
    private static let mostLineBytes = 1 << 20

    private let image: String
    private var rest: [UInt8] = []
    private var layers: [String: Layer] = [:]
    /// Why the pull failed, in the engine's words. The status of the answer was sent long before.
    private(set) var failure: String?

    init(image: String) {
        self.image = image
    }

    mutating func feed(_ bytes: [UInt8]) {
        rest += bytes
        while let newline = rest.firstIndex(of: UInt8(ascii: "\n")) {
            take(rest[..<newline])
            rest.removeFirst(newline + 1)
        }
        if rest.count > Self.mostLineBytes { rest = [] }
    }

    mutating func end() {
        take(rest[...])
        rest = []
    }

    private mutating func take(_ line: ArraySlice<UInt8>) {
        // A line that is none says nothing; the image's presence decides at the end.
        guard let message = try? OutsideJSON.decode(Message.self, from: Array(line)) else { return }
        if let error = message.error { failure = error }
        guard let id = message.id, let status = message.status, layers.count < Self.mostLayers else { return }
        var layer = layers[id] ?? Layer()
        switch status {
        case "Pulling fs layer", "Waiting", "Verifying Checksum": break
        case "Downloading":
            layer.current = message.progressDetail?.current ?? layer.current
            layer.total = message.progressDetail?.total ?? layer.total
        case "Download complete", "Extracting": layer.current = layer.total
        case "Pull complete", "Already exists":
            layer.current = layer.total
            layer.isComplete = true
        // "Pulling from library/busybox" has the tag as its id.
        default: return
        }
        layers[id] = layer
    }

    /// One line for a status.
    var text: String {
        let current = layers.values.reduce(0) { $0 + $1.current }
        let total = layers.values.reduce(0) { $0 + $1.total }
        let complete = layers.values.count { $0.isComplete }
        guard !layers.isEmpty else { return "pulling the image \(image)" }
        let bytes = total > 0 ? ", \(Self.megabytes(current)) of \(Self.megabytes(total)) MB" : ""
        return "pulling the image \(image): \(complete) of \(layers.count) layers\(bytes)"
    }

    private static func megabytes(_ bytes: UInt64) -> String {
        "\(bytes / 1_000_000).\(bytes / 100_000 % 10)"
    }
}
