# Completion of xe for bash: the daemon knows what may come, with the server and login of the words typed
# so far. Sourced by bash-completion, or by hand: . completion.bash

# The words up to the cursor as xe would get them, in words; the last one is being typed. Bash has split
# them at "=" and ":", too.
_xe_words()
{
	local line=${COMP_LINE:0:COMP_POINT} i word
	words=()
	for ((i = 0; i <= COMP_CWORD; i++)); do
		word=${COMP_WORDS[i]}
		if ((i == 0)) || [[ $line == [[:space:]]* ]]; then
			line=${line#"${line%%[![:space:]]*}"}
			words+=("")
		fi
		((${#word} > ${#line})) && word=$line
		words[${#words[@]} - 1]+=$word
		line=${line:${#word}}
	done
}

_xe()
{
	local words cur quote prefix candidate value reply

	_xe_words
	cur=${words[${#words[@]} - 1]}
	quote=${cur//[^\"\']/}
	words=("${words[@]//[\\\"\']/}")
	cur=${words[${#words[@]} - 1]}
	# What stands before the last "=" or ":" is on the line already, as words of their own.
	prefix=
	[[ $COMP_WORDBREAKS == *=* ]] && prefix=${cur%"${cur##*[=:]}"}
	mapfile -t reply < <("${words[0]}" --complete $((${#words[@]} - 2)) -- "${words[@]:1}" 2>/dev/null </dev/null)
	COMPREPLY=()
	for candidate in "${reply[@]}"; do
		value=${candidate%%$'\t'*}
		if [[ $candidate == $'\t'file ]]; then
			compopt -o filenames 2>/dev/null
			mapfile -t -O ${#COMPREPLY[@]} COMPREPLY < <(compgen -f -- "${cur#*=}")
		elif [[ -n $value && $value == "$prefix"* ]]; then
			value=${value#"$prefix"}
			[[ $value == *= ]] && compopt -o nospace 2>/dev/null
			[[ -z $quote && $value == *[!A-Za-z0-9_./=,:@%+-]* ]] && printf -v value %q "$value"
			COMPREPLY+=("$value")
		fi
	done
}

complete -F _xe xe
