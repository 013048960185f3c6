%% The broker's application: what it starts, and which ports it opens.
-module(emqx_app).
-behaviour(application).
-behaviour(supervisor).

-export([start/2, stop/1, init/1]).

start(_Type, _Arguments) ->
    ok = emqx_cluster:start(),
    supervisor:start_link({local, emqx_sup}, ?MODULE, []).

stop(_State) ->
    ok.

init([]) ->
    Workers = [
        worker(emqx_alarm, [emqx_alarm]),
        worker(emqx_sys, [emqx_sys]),
        worker(emqx_lingering, [emqx_lingering]),
        worker(emqx_listener, [emqx_listener]),
        worker(emqx_http, [emqx_http])
    ],
    {ok, {#{strategy => one_for_one, intensity => 5, period => 10}, Workers}}.

worker(Module, Modules) ->
    #{id => Module, start => {Module, start_link, []}, restart => permanent,
      shutdown => 2000, type => worker, modules => Modules}.
