import Glibc
import WireFormat

/// What an agent asks of the holder of its bots. One message of `holder.sock` each, a list of fields as in `launch.plan`.
///
/// Unknown fields are passed over and a missing one has its default, so that holder and agent may be of different versions.
enum HolderRequest: Equatable {
    /// Who are you, and where do groups for bots go?
    case describe
    /// Start the program that comes as the first file, with the second as its standard output and error. The proof is what
    /// `HolderProof` holds.
    case spawn(arguments: [String], environment: [String: String], proof: String = "")
    /// Execute the program that is installed now in your place.
    case renew

    var encoded: [UInt8] {
        var fields = PlanFields()
        switch self {
        case .describe: fields.add("request", "describe")
        case .renew: fields.add("request", "renew")
        case .spawn(let arguments, let environment, let proof):
            fields.add("request", "spawn")
            if !proof.isEmpty { fields.add("proof", proof) }
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
                environment: Dictionary(pairs, uniquingKeysWith: { $1 }),
                proof: fields.first { $0.key == "proof" }?.value ?? ""
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
        var message = message
        var control = FilePassing.control(files)
        while true {
            let count = FilePassing.withHeader(&message, &control) { sendmsg(socket, &$0, Int32(MSG_NOSIGNAL)) }
            if count < 0, errno == EINTR { continue }
            return count == message.count
        }
    }

    /// - Returns: nil at the end, after the time that is waited, and for an empty message. The files are the caller's to close.
    static func receive(from socket: Int32) -> (message: [UInt8], files: [Int32])? {
        var message = [UInt8](repeating: 0, count: maximumBytes)
        var control = FilePassing.control([Int32](repeating: -1, count: FilePassing.maximumFiles))
        while true {
            var received = 0
            let count = FilePassing.withHeader(&message, &control) { header in
                let count = recvmsg(socket, &header, FilePassing.closeOnExec)
                received = Int(clamping: header.msg_controllen)
                return count
            }
            if count < 0, errno == EINTR { continue }
            let files = count < 0 ? [] : FilePassing.files(in: control.prefix(received))
            guard count > 0 else {
                for file in files { close(file) }
                return nil
            }
            return (Array(message.prefix(count)), files)
        }
    }
}

/// Open files that travel with a message (SCM_RIGHTS). The macros for it, cmsg(3), do not reach Swift.
///
/// ```
/// length (size_t)   level (int)   type (int)   descriptors (int each)   room up to the next multiple of size_t
/// ```
private enum FilePassing {
    static let maximumFiles = 4
    /// MSG_CMSG_CLOEXEC, which Swift's Glibc module does not show.
    static let closeOnExec: Int32 = 0x4000_0000
    private static let rights: Int32 = 1
    private static let headBytes = MemoryLayout<Int>.size + 2 * MemoryLayout<Int32>.size

    static func control(_ files: [Int32]) -> [UInt8] {
        guard !files.isEmpty else { return [] }
        var bytes: [UInt8] = []
        withUnsafeBytes(of: headBytes + 4 * files.count) { bytes += $0 }
        for number in [Int32(SOL_SOCKET), rights] + files { withUnsafeBytes(of: number) { bytes += $0 } }
        while bytes.count % MemoryLayout<Int>.size != 0 { bytes.append(0) }
        return bytes
    }

    /// The descriptors that came; the kernel has closed those that found no room.
    static func files(in control: ArraySlice<UInt8>) -> [Int32] {
        control.withUnsafeBytes { bytes in
            guard bytes.count >= headBytes else { return [] }
            let length = min(bytes.loadUnaligned(as: Int.self), bytes.count)
            let level = bytes.loadUnaligned(fromByteOffset: MemoryLayout<Int>.size, as: Int32.self)
            let type = bytes.loadUnaligned(fromByteOffset: MemoryLayout<Int>.size + 4, as: Int32.self)
            guard level == Int32(SOL_SOCKET), type == rights, length > headBytes else { return [] }
            return stride(from: headBytes, through: length - 4, by: 4).map {
                bytes.loadUnaligned(fromByteOffset: $0, as: Int32.self)
            }
        }
    }

    static func withHeader(
        _ message: inout [UInt8],
        _ control: inout [UInt8],
        _ body: (inout msghdr) -> Int
    ) -> Int {
        message.withUnsafeMutableBytes { message in
            control.withUnsafeMutableBytes { control in
                var part = iovec(iov_base: message.baseAddress, iov_len: message.count)
                return withUnsafeMutablePointer(to: &part) { part in
                    var header = msghdr()
                    header.msg_iov = part
                    header.msg_iovlen = 1
                    header.msg_control = control.isEmpty ? nil : control.baseAddress
                    header.msg_controllen = control.count
                    return body(&header)
                }
            }
        }
    }
}
