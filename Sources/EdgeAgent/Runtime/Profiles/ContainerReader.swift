/// Reads what a profile of the backend `docker` says of its containers.
struct ContainerReader {
    /// Keys that have a meaning for containers alone.
    enum Key: String, CaseIterable {
        case image
        case pull
        case network
        case mounts
        case readOnly = "read_only"
        case temporarySize = "tmp_size"
        case capabilities
        case newPrivileges = "new_privileges"
        case hasInit = "init"
    }

    private let members: [Key: ProfileNode]

    init(_ members: [Key: ProfileNode]) {
        self.members = members
    }

    func settings() throws(ProfileMistake) -> ContainerSettings {
        guard let image = members[.image] else {
            throw ProfileMistake(reason: "\"image\" is missing: what the backend \"docker\" runs")
        }
        let name = try ProfileReader.text(image, "image")
        guard ImageReference(name) != nil else {
            throw ProfileMistake(reason: "\"image\": \"\(name.prefix(200))\" is no name of an image")
        }
        var settings = ContainerSettings(image: name)
        if let value = members[.pull] { settings.pull = try ProfileReader.choice(value, "pull") }
        if let value = members[.network] {
            settings.network = try ProfileReader.text(value, "network")
            // Another container's network is not the profile's to give; a name cannot hold a colon.
            guard Self.isName(settings.network) else {
                throw ProfileMistake(
                    reason: "\"network\" must be \"bridge\", \"host\", \"none\" or the name of a network of the engine"
                )
            }
        }
        if let value = members[.mounts] {
            for item in try Self.texts(value, "mounts") { settings.mounts.append(try Self.mount(item)) }
        }
        if let value = members[.readOnly] { settings.hasReadOnlyRoot = try ProfileReader.flag(value, "read_only") }
        if let value = members[.temporarySize] {
            settings.temporaryBytes = try ProfileReader.bytes(value, "tmp_size")
        }
        if let value = members[.capabilities] {
            for item in try Self.texts(value, "capabilities") {
                let name = item.hasPrefix("CAP_") ? String(item.dropFirst(4)) : item
                guard Self.isName(name), name != "ALL" else {
                    throw ProfileMistake(
                        reason: "\"capabilities\": \"\(item.prefix(80))\" is no capability; name each one"
                    )
                }
                settings.capabilities.append(name)
            }
        }
        if let value = members[.newPrivileges] {
            settings.allowsNewPrivileges = try ProfileReader.flag(value, "new_privileges")
        }
        if let value = members[.hasInit] { settings.hasInit = try ProfileReader.flag(value, "init") }
        return settings
    }

    /// `/on/node:/in/container[:ro]`
    private static func mount(_ text: String) throws(ProfileMistake) -> ContainerSettings.Mount {
        let parts = text.split(separator: ":", omittingEmptySubsequences: false).map(String.init)
        let isWellFormed = parts.count == 2 || parts.count == 3 && ["ro", "rw"].contains(parts[2])
        guard isWellFormed, PathText.isPlainAbsolute(parts[0]), PathText.isPlainAbsolute(parts[1]) else {
            throw ProfileMistake(
                reason: "\"mounts\": \"\(text.prefix(200))\" must be \"/on/node:/in/container\", with \":ro\" for "
                    + "read-only"
            )
        }
        guard !PathText.isInside(parts[1], ContainerPaths.home), parts[1] != "/" else {
            throw ProfileMistake(
                reason: "\"mounts\": \(parts[1]) is the bot's own place in its container; choose another"
            )
        }
        return ContainerSettings.Mount(source: parts[0], target: parts[1], isReadOnly: parts.last == "ro")
    }

    private static func texts(_ value: ProfileNode, _ key: String) throws(ProfileMistake) -> [String] {
        guard case .list(let list) = value else { throw ProfileMistake(reason: "\"\(key)\" must be a list of texts") }
        var texts: [String] = []
        for item in list { texts.append(try ProfileReader.text(item, key)) }
        return texts
    }

    private static func isName(_ text: String) -> Bool {
        (1...128).contains(text.utf8.count)
            && text.utf8.allSatisfy {
                ($0 >= 0x30 && $0 <= 0x39) || ($0 >= 0x41 && $0 <= 0x5A) || ($0 >= 0x61 && $0 <= 0x7A)
                    || $0 == UInt8(ascii: "_") || $0 == UInt8(ascii: "-") || $0 == UInt8(ascii: ".")
            }
    }
}
