import CLinux
import Glibc
import WireFormat

/// What an agent asks of the holder of its bots. One message of `holder.sock` each, a list of fields as in `launch.plan`.
///
/// Unknown fields are passed over and a missing one has its default, so that holder and agent may be of different versions.
enum HolderRequest: Equatable {
    /// Who are you, and where do groups for bots go?
    case describe
    /// Start the program that comes as the first file, with the second as its standard output and error.
    case spawn(arguments: [String], environment: [String: String])
    /// Execute the program that is installed now in your place.
    case renew

    var encoded: [UInt8] {
        var fields = PlanFields()
        switch self {
        case .describe: fields.add("request", "describe")
        case .renew: fields.add("request", "renew")
        case .spawn(let arguments, let environment):
            fields.add("request", "spawn")
            for argument in arguments { fields.add("argument", argument) }
            for (name, value) in environment { fields.add("environment", "\(name)=\(value)") }
        }
        return fields.bytes
    }

    /// Nil for what is no request.
    init?(_ bytes: [UInt8]) {
        guard let fields = PlanFields.read(bytes) else { return nil }
        switch fields.first(where: { $0.key == "request" })?.value {
        case "describe": self = .describe
        case "renew": self = .renew
        case "spawn":
            let pairs = fields.filter { $0.key == "environment" }.compactMap { PlanFields.pair($0.value) }
            self = .spawn(
                arguments: fields.filter { $0.key == "argument" }.map(\.value),
                environment: Dictionary(pairs, uniquingKeysWith: { $1 })
            )
        default: return nil
        }
    }
}

/// What the holder answers; the fields that fit the request.
struct HolderAnswer: Equatable {
    /// Why the request was not carried out; empty where it was.
    var error = ""
    /// Of the holder: its pid, its version, and the file it executes.
    var pid: pid_t = 0
    var version = ""
    var program: FileIdentity?
    /// Where that file was when the holder started: what `renew` executes.
    var programPath = ""
    var layout = ControlGroupLayout(bases: [:], shortfall: "")
    /// The process that `spawn` started.
    var spawned: ProcessIdentity?

    init() {}

    init(error: String) { self.error = error }

    var encoded: [UInt8] {
        var fields = PlanFields()
        if !error.isEmpty { fields.add("error", error) }
        if pid > 0 { fields.add("pid", String(pid)) }
        fields.add("version", version)
        if let program { fields.add("program", "\(program.device):\(program.number)") }
        fields.add("program_path", programPath)
        for (hierarchy, path) in layout.bases { fields.add("control_group", "\(hierarchy)=\(path)") }
        fields.add("shortfall", layout.shortfall)
        if let spawned { fields.add("spawned", "\(spawned.pid):\(spawned.startTime)") }
        return fields.bytes
    }

    /// Nil for what is no answer.
    init?(_ bytes: [UInt8]) {
        guard let fields = PlanFields.read(bytes) else { return nil }
        var bases: [String: String] = [:]
        var shortfall = ""
        for (key, value) in fields {
            // fits: text. A file's number may use all 64 bits, and is only ever compared.
            let numbers = value.split(separator: ":").map { UInt64($0) }
            switch key {
            case "error": error = value
            case "pid": pid = pid_t(decimal: value) ?? 0
            case "version": version = value
            case "program_path": programPath = value
            case "program":
                if numbers.count == 2, let device = numbers[0], let number = numbers[1] {
                    program = FileIdentity(device: device, number: number)
                }
            case "spawned":
                if numbers.count == 2, let pid = numbers[0].flatMap({ pid_t(exactly: $0) }), let start = numbers[1] {
                    spawned = ProcessIdentity(pid: pid, startTime: start)
                }
            case "control_group":
                if let (hierarchy, path) = PlanFields.pair(value) { bases[hierarchy] = path }
            case "shortfall": shortfall = value
            default: break
            }
        }
        layout = ControlGroupLayout(bases: bases, shortfall: shortfall)
    }
}

/// A file whatever it is called: also one that was replaced since.
struct FileIdentity: Sendable, Equatable {
    var device: UInt64
    var number: UInt64

    init(device: UInt64, number: UInt64) {
        (self.device, self.number) = (device, number)
    }

    /// Nil where there is no such file.
    init?(_ path: String) {
        var status = stat()
        guard stat(path, &status) == 0 else { return nil }
        self.init(device: UInt64(clamping: status.st_dev), number: UInt64(clamping: status.st_ino))
    }
}

/// The socket between agent and holder: `holder.sock` in the state directory.
enum HolderSocket {
    /// No message is longer.
    static let maximumBytes = 64 << 10
    static let patienceSeconds = 2

    static func at(_ stateDirectory: String) -> LocalSocket {
        // Messages stay apart, and none is cut.
        LocalSocket(
            directory: stateDirectory,
            name: "holder.sock",
            type: SOCK_SEQPACKET,
            patienceSeconds: patienceSeconds
        )
    }

    static func send(_ message: [UInt8], files: [Int32] = [], to socket: Int32) -> Bool {
        while true {
            let count = CLinux_send_files(socket, message, message.count, files, files.count)
            if count < 0, errno == EINTR { continue }
            return count == message.count
        }
    }

    /// - Returns: nil at the end, after the time that is waited, and for an empty message. The files are the caller's to close.
    static func receive(from socket: Int32) -> (message: [UInt8], files: [Int32])? {
        var message = [UInt8](repeating: 0, count: maximumBytes)
        var files = [Int32](repeating: -1, count: Int(CLINUX_MOST_FILES))
        var fileCount = 0
        while true {
            let count = CLinux_receive_files(socket, &message, message.count, &files, &fileCount)
            if count < 0, errno == EINTR { continue }
            guard count > 0 else {
                files.prefix(fileCount).forEach { close($0) }
                return nil
            }
            return (Array(message.prefix(count)), Array(files.prefix(fileCount)))
        }
    }
}
