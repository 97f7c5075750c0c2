import Glibc

/// What the files around a `nanobot` program say: whether it is the real one in a virtual environment, and whether it can
/// speak the bot contract. Asks no program.
struct NanobotInstallation: Sendable, Equatable {
    /// The environment's Python packages; nil for a program that stands alone.
    let sitePackages: String?
    /// Of the distribution `nanobot-ai` there; nil where it is not installed there.
    let version: LauncherVersion?
    /// Whether a package there adds a channel to nanobot.
    let hasChannel: Bool

    /// The first release that takes no channels from other packages.
    static let firstWithoutChannels = "0.3.5"

    /// - Parameter program: absolute path, `<environment>/bin/nanobot`; a link is followed.
    init(program: String) {
        let environment = Self.folder(of: Self.folder(of: Self.realPath(program) ?? program))
        let versions = Self.entries(environment + "/lib").filter { $0.hasPrefix("python3") }
        let packages = versions.map { "\(environment)/lib/\($0)/site-packages" }
            .first { (path: String) in access(path, R_OK) == 0 }
        sitePackages = packages
        guard let packages else {
            version = nil
            hasChannel = false
            return
        }
        let distributions = Self.entries(packages).filter { $0.hasSuffix(".dist-info") }
        version = distributions.first { $0.hasPrefix("nanobot_ai-") }
            .flatMap { LauncherVersion($0.dropFirst("nanobot_ai-".count).dropLast(".dist-info".count)) }
        hasChannel = distributions.contains { name in
            // Unreadable or absent: no channel there.
            guard let bytes = try? Files.read("\(packages)/\(name)/entry_points.txt", followsLinks: true) else {
                return false
            }
            return String(decoding: bytes, as: UTF8.self).split(separator: "\n")
                .contains { $0.trimmingPrefix(while: \.isWhitespace).hasPrefix("[nanobot.channels]") }
        }
    }

    /// Why bots cannot be run by it although it is there; nil where they can, or where nobody knows.
    var problem: String? {
        guard let version, !hasChannel else { return nil }
        if let first = LauncherVersion(Self.firstWithoutChannels), version >= first {
            return "nanobot \(version) takes no channels from other packages, so it cannot speak the bot contract; "
                + "install 0.1.4.post5 beside it with deploy/nanobot/install.sh"
        }
        return "nanobot \(version) has no channel plug-in that speaks the bot contract; "
            + "install it with deploy/nanobot/install.sh"
    }

    /// What the real nanobot needs to speak the contract and to ask no other machine for anything at its start.
    var environment: [String: String] {
        guard let sitePackages, version != nil else { return [:] }
        var variables = [
            // These lie under config.json: what stands there wins.
            "NANOBOT_CHANNELS__EDGE__ENABLED": "true",
            "NANOBOT_CHANNELS__SEND_TOOL_HINTS": "true",
            // Or it fetches a price list at each start, and waits for name servers that do not answer.
            "LITELLM_LOCAL_MODEL_COST_MAP": "True",
        ]
        let tokenizers = sitePackages + "/litellm/litellm_core_utils/tokenizers"
        if access(tokenizers, R_OK) == 0 { variables["TIKTOKEN_CACHE_DIR"] = tokenizers }
        return variables
    }

    private static func folder(of path: String) -> String {
        guard let slash = path.lastIndex(of: "/"), slash != path.startIndex else { return "/" }
        return String(path[..<slash])
    }

    private static func realPath(_ path: String) -> String? {
        guard let resolved = realpath(path, nil) else { return nil }
        defer { free(resolved) }
        return String(cString: resolved)
    }

    /// Names in a directory, in order; none where it cannot be read.
    static func entries(_ directory: String) -> [String] {
        guard let stream = opendir(directory) else { return [] }
        defer { closedir(stream) }
        var names: [String] = []
        while let entry = readdir(stream) {
            let name = withUnsafePointer(to: &entry.pointee.d_name) {
                $0.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
            }
            if name != ".", name != ".." { names.append(name) }
        }
        return names.sorted()
    }
}
